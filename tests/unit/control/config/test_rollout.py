"""Who gets which version is the same answer each time, in the share that was asked for; and a bad version is left at once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import pytest

from rspp.contract.errors import MisuseError, PeerFault
from rspp.control.config import rollout as r
from rspp.control.config.documents import Versions
from rspp.control.config.rollout import Choice, Rollout, choose, fnv1a_32
from rspp.control.config.rollouts import Rollouts
from rspp.testing.store import MemoryStore
from tests.unit.control.published import Slow

SESSIONS = 20_000
SHAPES: dict[str, Callable[[int], str]] = {
    "sequential": lambda n: f"s-{n}",
    "padded": lambda n: f"session-{n:08d}",
    "bare number": str,
    "hex number": lambda n: f"{n:x}",
    "uuid": lambda n: str(uuid.UUID(int=uuid.uuid5(uuid.NAMESPACE_OID, str(n)).int, version=4)),
    "uuid hex": lambda n: uuid.uuid5(uuid.NAMESPACE_OID, str(n)).hex,
    "time and number": lambda n: f"2026-11-21T10:{n // 60 % 60:02d}:{n % 60:02d}.{n}",
    "stepping by a hundred": lambda n: f"call-{n * 100}",
}


def served(percent: int = 10, tenants: tuple[str, ...] = ()) -> Rollout:
    return Rollout(pipeline="voice", base="v1", canary="v2", percent=percent, tenants=tenants)


def test_the_hash_is_fnv_1a_of_32_bits() -> None:
    # The published test vectors of the function.
    assert [fnv1a_32(text) for text in ("", "a", "foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]


@pytest.mark.parametrize(
    ("shape", "tenant"), [*((shape, "acme") for shape in SHAPES), ("uuid", ""), ("sequential", "")]
)
def test_a_canary_of_ten_percent_gets_about_a_tenth_whatever_sessions_are_called(
    shape: str, tenant: str
) -> None:
    names = [SHAPES[shape](n) for n in range(SESSIONS)]
    took = [choose(served(), tenant, name).version for name in names]
    assert 0.09 <= took.count("v2") / SESSIONS <= 0.11
    assert took[:500] == [choose(served(), tenant, name).version for name in names[:500]]


def test_a_session_that_was_led_to_the_canary_stays_there_when_the_share_grows() -> None:
    names = [f"s-{n}" for n in range(2_000)]
    before = {name for name in names if choose(served(10), "acme", name).version == "v2"}
    after = {name for name in names if choose(served(30), "acme", name).version == "v2"}
    assert before < after


def test_no_percent_is_nobody_and_a_hundred_is_everybody() -> None:
    assert {choose(served(0), "acme", f"s{n}").version for n in range(500)} == {"v1"}
    assert {choose(served(100), "acme", f"s{n}").version for n in range(500)} == {"v2"}


def test_a_tenant_on_the_list_always_gets_the_canary() -> None:
    rollout = served(0, ("acme",))
    assert {choose(rollout, "acme", f"s{n}") for n in range(100)} == {Choice("v2", "tenant")}
    assert {choose(rollout, "other", f"s{n}") for n in range(100)} == {Choice("v1", "base")}


def test_what_a_caller_asks_for_comes_before_all_and_must_be_served() -> None:
    rollout = r.open_to_requests(served(100, ("acme",)), ("v0",))
    for version in ("v0", "v1", "v2"):
        assert choose(rollout, "acme", "s", version) == Choice(version, "requested")
    with pytest.raises(PeerFault, match="pipeline_unknown"):
        choose(rollout, "acme", "s", "v9")


@pytest.mark.parametrize("percent", [101, -1, 1_000])
def test_a_percentage_that_is_none_is_refused(percent: int) -> None:
    with pytest.raises(MisuseError, match="rollout_invalid"):
        r.checked(served(percent), {"v1", "v2"})


def test_a_rollout_names_what_was_published_and_a_canary_that_is_another_version() -> None:
    with pytest.raises(PeerFault, match="document_missing"):
        r.checked(served(), {"v1"})
    with pytest.raises(MisuseError, match="rollout_invalid"):
        r.checked(Rollout(pipeline="voice", base="v1", canary="v1"), {"v1"})
    with pytest.raises(MisuseError, match="rollout_invalid"):
        r.checked(Rollout(pipeline="voice", base="v1", percent=5), {"v1"})
    with pytest.raises(MisuseError, match="rollout_invalid"):
        r.checked(served(5, ("acme", "acme")), {"v1", "v2"})


def test_promoted_the_canary_is_everybodys_and_rolled_back_it_is_nobodys() -> None:
    promoted = r.promote(served())
    assert (promoted.base, promoted.canary, promoted.percent, promoted.bases) == ("v2", None, 0, ("v1",))
    back = r.roll_back(promoted)
    assert (back.base, back.bases) == ("v1", ())
    assert r.roll_back(served()).canary is None
    assert r.roll_back(served()).base == "v1"
    with pytest.raises(MisuseError, match="rollback_target_missing"):
        r.roll_back(r.begin("voice", "v1"))


def test_a_way_back_leads_to_what_was_in_force_alone_since_nobody_has_to_agree_to_it() -> None:
    for rollout in (served(), r.promote(served()), r.freeze(served(), "ada", "trouble")):
        for version in ("v2", "v9"):
            if version != rollout.base:
                with pytest.raises(MisuseError, match="rollback_target_missing"):
                    r.roll_back(rollout, version)
    assert r.roll_back(served(), "v1").canary is None


def test_a_promotion_is_of_the_canary_that_is_meant_and_may_be_asked_for_twice() -> None:
    with pytest.raises(MisuseError, match=r"rollout_invalid.*the canary is v2, not v3"):
        r.promote(served(), "v3")
    promoted = r.promote(served(), "v2")
    assert promoted == r.promote(served())
    assert r.promote(promoted, "v2") == promoted
    assert r.promote(r.freeze(promoted, "ada", "trouble"), "v2").base == "v2"
    with pytest.raises(MisuseError, match="there is no canary"):
        r.promote(promoted, "v1")


def test_a_frozen_rollout_leads_nobody_new_anywhere_but_back() -> None:
    frozen = r.freeze(served(10, ("acme",)), "ada", "trouble")
    changes: tuple[Callable[[], Rollout], ...] = (
        lambda: r.canary(frozen, "v2", 20),
        lambda: r.canary(frozen, "v3", 5),
        lambda: r.canary(frozen, "v2", 10, ("acme", "other")),
        lambda: r.promote(frozen),
        lambda: r.open_to_requests(frozen, ("v9",)),
    )
    for change in changes:
        with pytest.raises(MisuseError, match=r"rollout_frozen.*ada: trouble"):
            change()
    assert r.canary(frozen, "v2", 5).percent == 5
    assert r.roll_back(frozen).canary is None
    assert r.roll_back(r.freeze(r.promote(served()), "ada", "trouble")).base == "v1"
    assert r.promote(r.unfreeze(frozen)).base == "v2"


def test_an_error_budget_frees_what_it_froze_and_nothing_that_a_person_did() -> None:
    frozen = r.governed(served(), True, "budget burned")
    assert (frozen.frozen, frozen.frozen_by) == (True, "error_budget")
    assert r.governed(frozen, False, "") == served()
    by_hand = r.freeze(served(), "ada", "holidays")
    assert r.governed(by_hand, True, "budget burned") == by_hand
    assert r.governed(by_hand, False, "") == by_hand


async def store_with(*versions: str) -> MemoryStore:
    store = Slow()
    for version in versions:
        await Versions(store, "spec", wall_ms=lambda: 0).publish("voice", version, version, author="ada")
    return store


def test_each_change_in_the_store_is_remembered_with_who_and_why() -> None:
    async def main() -> None:
        rollouts = Rollouts(await store_with("v1", "v2"), wall_ms=lambda: 5)
        await rollouts.begin("voice", "v1", author="ada")
        await rollouts.change(
            "voice", "canary", lambda now: r.canary(now, "v2", 10), author="ada", reason="try v2"
        )
        record = await rollouts.change("voice", "roll_back", r.roll_back, author="bob", reason="worse")
        assert [(one.what, one.author, one.canary) for one in record.changes] == [
            ("begin", "ada", None),
            ("canary", "ada", "v2"),
            ("roll_back", "bob", None),
        ]
        assert record.number == 3
        assert await rollouts.want("voice") == record
        assert await rollouts.pipelines() == ["voice"]

    asyncio.run(main())


def test_a_rollout_to_a_version_that_was_never_published_changes_nothing() -> None:
    async def main() -> None:
        rollouts = Rollouts(await store_with("v1"), wall_ms=lambda: 5)
        with pytest.raises(PeerFault, match="document_missing"):
            await rollouts.begin("voice", "v9", author="ada")
        before = await rollouts.begin("voice", "v1", author="ada")
        with pytest.raises(PeerFault, match="document_missing"):
            await rollouts.change("voice", "x", lambda now: r.canary(now, "v2", 10), author="ada")
        with pytest.raises(MisuseError, match="rollout_exists"):
            await rollouts.begin("voice", "v2", author="ada")
        with pytest.raises(PeerFault, match="rollout_missing"):
            await rollouts.change("other", "promote", r.promote, author="ada")
        assert await rollouts.get("voice") == before

    asyncio.run(main())


def test_two_who_change_a_rollout_at_once_do_not_undo_each_other() -> None:
    async def main() -> None:
        store = await store_with("v1", "v2", "v3", "v4")
        rollouts = Rollouts(store, wall_ms=lambda: 5)
        await rollouts.begin("voice", "v1", author="ada")

        def opened(version: str) -> Callable[[Rollout], Rollout]:
            return lambda now: r.open_to_requests(now, (*now.open_versions, version))

        await asyncio.gather(
            *(
                rollouts.change("voice", "open", opened(version), author="ada")
                for version in ("v2", "v3", "v4")
            )
        )
        assert set((await rollouts.want("voice")).rollout.open_versions) == {"v2", "v3", "v4"}

    asyncio.run(main())


@pytest.mark.proves("F-093")
def test_of_two_thousand_requests_a_tenth_goes_to_the_canary_and_a_listed_tenant_always() -> None:
    async def main() -> None:
        rollouts = Rollouts(await store_with("v1", "v2"), wall_ms=lambda: 5)
        await rollouts.begin("voice", "v1", author="ada")
        record = await rollouts.change(
            "voice", "canary", lambda now: r.canary(now, "v2", 10, ("listed",)), author="ada"
        )
        for shape in SHAPES.values():
            first = [choose(record.rollout, "acme", shape(n)).version for n in range(2_000)]
            # Two and a half standard deviations of a binomial around its tenth.
            assert abs(first.count("v2") - 200) <= 2.5 * (2_000 * 0.1 * 0.9) ** 0.5
            assert first == [choose(record.rollout, "acme", shape(n)).version for n in range(2_000)]
            assert {choose(record.rollout, "listed", shape(n)).version for n in range(200)} == {"v2"}
        with pytest.raises(MisuseError) as caught:
            await rollouts.change("voice", "canary", lambda now: r.canary(now, "v2", 101), author="ada")
        assert caught.value.code == "rollout_invalid"
        assert await rollouts.want("voice") == record

    asyncio.run(main())
