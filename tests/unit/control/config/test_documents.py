"""What was published never changes, and which of it is in force can always be taken back."""

from __future__ import annotations

import asyncio

import pytest

from rspp.contract.errors import LimitReached, MisuseError, PeerFault
from rspp.control.config.documents import DOCUMENT_BYTES_MAX, STACK_MAX, Pointers, Versions, in_natural_order
from rspp.control.names import CONFIG, key
from rspp.testing.store import MemoryStore
from tests.unit.control.published import Slow


def shelf(store: MemoryStore, kind: str = "policy") -> Versions:
    return Versions(store, kind, wall_ms=lambda: 1_000)


def pointers(store: MemoryStore) -> Pointers:
    return Pointers(store, "policy", wall_ms=lambda: 2_000)


def test_a_document_is_given_back_as_it_was_published_with_who_and_when() -> None:
    async def main() -> None:
        store = MemoryStore()
        first = await shelf(store).publish("acme", "v1", "a: 1\n", author="ada", facts={"fingerprint": "f"})
        assert await shelf(store).get("acme", "v1") == first
        assert (first.author, first.created_at_ms, first.facts) == ("ada", 1_000, {"fingerprint": "f"})
        assert len(first.sha256) == 64
        assert await shelf(store).get("acme", "v2") is None
        with pytest.raises(PeerFault, match="document_missing"):
            await shelf(store).want("acme", "v2")

    asyncio.run(main())


def test_the_same_content_again_is_no_change_and_other_content_is_refused() -> None:
    async def main() -> None:
        store = MemoryStore()
        shelf_ = shelf(store)
        first = await shelf_.publish("acme", "v1", "a: 1\n", author="ada")
        assert await shelf_.publish("acme", "v1", "a: 1\n", author="bob") == first
        with pytest.raises(MisuseError, match="version_exists"):
            await shelf_.publish("acme", "v1", "a: 2\n", author="ada")
        await shelf_.publish("acme", "v2", "a: 2\n", author="ada")
        assert [one.text for one in await shelf_.list("acme")] == ["a: 1\n", "a: 2\n"]

    asyncio.run(main())


def test_of_many_who_publish_at_once_one_wins_and_the_others_are_told() -> None:
    async def main() -> None:
        shelf_ = shelf(MemoryStore())
        done = await asyncio.gather(
            *(shelf_.publish("acme", "v1", f"a: {n}", author="ada") for n in range(20)),
            return_exceptions=True,
        )
        refused = [one for one in done if isinstance(one, MisuseError)]
        assert len(refused) == 19
        assert {one.code for one in refused} == {"version_exists"}

    asyncio.run(main())


@pytest.mark.parametrize(
    "harm",
    [
        lambda value: value.replace(b"a: 1", b"a: 2"),
        lambda value: value.replace(b'"acme"', b'"evil"'),
        lambda value: value.replace(b'"v1"', b'"v9"'),
        lambda value: value[:-5],
        lambda value: b"\xff" + value,
        lambda value: value.replace(b'"kind"', b'"kinds"'),
    ],
    ids=["text", "name", "version", "cut", "bytes", "field"],
)
def test_a_document_that_was_changed_in_the_store_is_told_of_and_given_to_nobody(harm) -> None:  # type: ignore[no-untyped-def]
    async def main() -> None:
        store = MemoryStore()
        await shelf(store).publish("acme", "v1", "a: 1", author="ada")
        where = key("policy", "acme", "v1")
        entry = await store.get(CONFIG, where)
        assert entry is not None
        await store.put(CONFIG, where, harm(entry.value))
        with pytest.raises(PeerFault, match="document_corrupt"):
            await shelf(store).get("acme", "v1")
        with pytest.raises(PeerFault, match="document_corrupt"):
            await pointers(store).set("acme", "v1", author="ada")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("version", "text", "author", "code"),
    [
        ("", "x", "ada", "version_invalid"),
        ("v 1", "x", "ada", "version_invalid"),
        ("../v1", "x", "ada", "version_invalid"),
        ("v" * 65, "x", "ada", "version_invalid"),
        ("v1", "\ud800", "ada", "text_not_utf8"),
        ("v1", "x", "", "field_empty"),
    ],
)
def test_what_is_no_document_is_refused(version: str, text: str, author: str, code: str) -> None:
    async def main() -> None:
        with pytest.raises(MisuseError) as caught:
            await shelf(MemoryStore()).publish("acme", version, text, author=author)
        assert caught.value.code == code

    asyncio.run(main())


def test_a_document_has_a_size_and_a_name_keeps_to_its_room() -> None:
    async def main() -> None:
        store = MemoryStore()
        with pytest.raises(LimitReached, match="payload_too_large"):
            await shelf(store).publish("acme", "v1", "x" * (DOCUMENT_BYTES_MAX + 1), author="ada")
        with pytest.raises(LimitReached, match="payload_too_large"):
            await shelf(store).publish("acme", "v1", "x", author="a" * 1_000)
        await shelf(store).publish("a/b", "v1", "x", author="ada")
        await shelf(store).publish("*", "v1", "x", author="ada")
        assert await shelf(store).names() == ["*", "a/b"]
        assert await shelf(store).list("a") == []

    asyncio.run(main())


def test_versions_are_listed_as_people_count() -> None:
    assert sorted(["v10", "v2", "v1.10", "v1.9", "beta"], key=in_natural_order) == [
        *("beta", "v1.9", "v1.10", "v2", "v10"),
    ]


def test_a_version_is_put_in_force_rolled_back_and_rolled_forward() -> None:
    async def main() -> None:
        store = MemoryStore()
        for number in (1, 2, 3):
            await shelf(store).publish("acme", f"v{number}", f"a: {number}", author="ada")
        moved = pointers(store)
        for version in ("v1", "v2", "v3"):
            assert (await moved.set("acme", version, author="ada", reason="try")).version == version
        assert (await moved.roll_back("acme", author="bob", reason="slow")).version == "v2"
        assert (await moved.roll_back("acme", author="bob")).version == "v1"
        with pytest.raises(MisuseError, match="rollback_target_missing"):
            await moved.roll_back("acme", author="bob")
        assert (await moved.roll_forward("acme", author="bob")).version == "v2"
        last = await moved.set("acme", "v1", author="bob")  # what was ahead is gone now
        assert last.stack == ("v1", "v2", "v1")
        with pytest.raises(MisuseError, match="rollback_target_missing"):
            await moved.roll_forward("acme", author="bob")
        assert [(one.what, one.before, one.after) for one in last.moves] == [
            ("set", None, "v1"),
            ("set", "v1", "v2"),
            ("set", "v2", "v3"),
            ("roll_back", "v3", "v2"),
            ("roll_back", "v2", "v1"),
            ("roll_forward", "v1", "v2"),
            ("set", "v2", "v1"),
        ]
        assert last.moves[3].reason == "slow"
        assert await moved.names() == ["acme"]

    asyncio.run(main())


def test_a_pointer_to_a_version_that_is_not_there_is_refused() -> None:
    async def main() -> None:
        store = MemoryStore()
        with pytest.raises(PeerFault, match="document_missing"):
            await pointers(store).set("acme", "v1", author="ada")
        assert await pointers(store).get("acme") is None
        with pytest.raises(MisuseError, match="rollback_target_missing"):
            await pointers(store).roll_back("acme", author="ada")

    asyncio.run(main())


def test_putting_in_force_what_is_in_force_changes_nothing() -> None:
    async def main() -> None:
        store = MemoryStore()
        await shelf(store).publish("acme", "v1", "a: 1", author="ada")
        first = await pointers(store).set("acme", "v1", author="ada")
        assert await pointers(store).set("acme", "v1", author="bob") == first

    asyncio.run(main())


def test_two_who_move_a_pointer_at_once_both_have_moved_it_one_after_the_other() -> None:
    async def main() -> None:
        store = Slow()
        for number in range(6):
            await shelf(store).publish("acme", f"v{number}", f"a: {number}", author="ada")
        await asyncio.gather(*(pointers(store).set("acme", f"v{n}", author="ada") for n in range(6)))
        found = await pointers(store).get("acme")
        assert found is not None
        assert found.number == 6
        assert sorted(found.stack) == [f"v{n}" for n in range(6)]

    asyncio.run(main())


def test_a_pointer_remembers_a_bounded_past() -> None:
    async def main() -> None:
        store = MemoryStore()
        for number in range(STACK_MAX + 5):
            await shelf(store).publish("acme", f"v{number}", f"a: {number}", author="ada")
            await pointers(store).set("acme", f"v{number}", author="ada")
        found = await pointers(store).get("acme")
        assert found is not None
        assert len(found.stack) == STACK_MAX
        assert found.version == f"v{STACK_MAX + 4}"
        assert found.number == STACK_MAX + 5

    asyncio.run(main())
