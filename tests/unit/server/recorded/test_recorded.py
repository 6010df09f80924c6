"""A session as the console sees it: what was recorded, as far as who asks may see it, and nothing of anybody else's."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rspp.server.recorded.places import part_name
from rspp.server.recorded.recorded import ALL_PARTS
from rspp.timeline.audit import AuditFault
from rspp.timeline.recording import assemble
from rspp.timeline.records import unframe
from rspp.timeline.summary import summarise
from tests.unit.server.recorded.given import (
    ADMIN,
    NOBODY,
    OPERATOR,
    RIVAL,
    TENANT,
    VIEWER,
    Readers,
    row,
    scene,
    scripted,
    shelve,
)
from tests.unit.timeline.calls import simulated_bytes
from tests.unit.timeline.scripted import SESSION, scripted_bytes
from tests.unit.timeline.spooled import renamed

pytestmark = pytest.mark.slow


def test_an_operator_sees_the_whole_call_and_the_look_is_on_record_once(
    readers: Readers, tmp_path: Path
) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            await shelve(it.data, scripted())
            seen = await it.recorded.session(OPERATOR, TENANT, SESSION)
            assert seen is not None
            assert [(one.speaker, one.text, one.turn) for one in seen.transcript] == [
                ("user", "hello there", 1),
                ("assistant", "Good day.", 1),
                ("user", "no", 2),
                ("assistant", "As you wish, madam.", 2),
            ]
            assert [one.interrupted for one in seen.transcript] == [False, False, False, True]
            assert [one.heard for one in seen.transcript] == [None] * 4, "no kernel ran that remembers"
            first, second = seen.turns
            assert (first.outcome, first.heard_after_ms, second.outcome) == ("commit", 400.0, "abort")
            assert sum(one.took_ms for one in first.stages) == pytest.approx(400.0)
            for before, after in zip(first.stages, first.stages[1:], strict=False):
                assert after.began_ms == pytest.approx(before.began_ms + before.took_ms)
            assert second.trouble[0].startswith("llm llm-b") or "evidence" in second.trouble[0]
            assert seen.recorded_level == "L1"
            recording = assemble([unframe(scripted_bytes(SESSION, TENANT))])
            assert seen.summary == msgspec.to_builtins(summarise(recording))
            assert seen.item.recorded
            assert seen.item.state == "ended"
            await it.recorded.session(OPERATOR, TENANT, SESSION)
            assert await it.audited() == [("olga", "recordings.access", "done")]

    readers.play(main())


def test_a_viewer_sees_turns_and_times_and_not_a_word(readers: Readers, tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            await shelve(it.data, scripted())
            seen = await it.recorded.session(VIEWER, TENANT, SESSION)
            assert seen is not None
            page = await it.recorded.timeline(VIEWER, TENANT, SESSION, {})
            said = msgspec.json.encode([seen, page]).decode()
            for secret in ("hello there", "Good day", "As you wish", "madam"):
                assert secret not in said
            assert seen.transcript[0].text == "(withheld, 11 characters)"
            assert "texts" in seen.withheld
            assert [one.heard_after_ms for one in seen.turns] == [400.0, 300.0]
            assert page.total > 20
            whole = await it.recorded.session(OPERATOR, TENANT, SESSION)
            assert whole is not None
            assert whole.transcript[0].text == "hello there", "one reader's view is not another's"

    readers.play(main())


def test_what_is_not_there_and_what_is_anothers_is_none_alike(readers: Readers, tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            await shelve(it.data, scripted())
            hostile = [
                "",
                "../../etc",
                f"{SESSION}/",
                "a" * 600,
                "\x00",
                "%2e%2e/x",
                "s~",
                f"{SESSION}~1",
                "\udcff",
            ]
            for who, tenant, session in (
                (RIVAL, TENANT, SESSION),
                (NOBODY, TENANT, SESSION),
                (RIVAL, "other", SESSION),
                *((ADMIN, TENANT, one) for one in hostile),
                (ADMIN, "\udcff", SESSION),
            ):
                assert await it.recorded.session(who, tenant, session) is None, (who.id, tenant, session)
                assert (await it.recorded.timeline(who, tenant, session, {})).total == 0
                assert await it.recorded.heard(who, tenant, session) is None
                assert await it.recorded.replay(who, tenant, session) is None
                assert await it.recorded.diff(who, tenant, session, session) is None
                page = await it.recorded.sessions(who, {"tenant": tenant}, 10, None)
                assert who is ADMIN or page.items == []
            assert await it.audited() == [], "nobody looked at anything"
            denied = await it.world.denials("rick")
            assert ("recorded.session", "*") in denied
            assert all(tenant != TENANT for _, tenant in denied), "nobody reads there who the other tenant is"

    readers.play(main())


def test_a_session_that_is_known_and_not_recorded_says_why_there_is_nothing(
    readers: Readers, tmp_path: Path
) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            it.rows["sessions"] = [
                row("live", missing="tts, stt"),
                row("gone", state="ended", because="hangup"),
            ]
            live = await it.recorded.session(OPERATOR, TENANT, "live")
            gone = await it.recorded.session(OPERATOR, TENANT, "gone")
            assert live is not None
            assert gone is not None
            assert (live.item.state, live.item.missing, live.item.recorded) == (
                "running",
                ["tts", "stt"],
                False,
            )
            assert "w-1" in live.withheld
            assert "deleted" in gone.withheld
            assert (gone.transcript, gone.turns, gone.summary) == ([], [], None)
            assert await it.recorded.session(OPERATOR, "other", "live") is None

    readers.play(main())


def test_only_the_folders_own_policy_counts_where_there_is_one(readers: Readers, tmp_path: Path) -> None:
    policy = """
name: who-may-read
tenants:
  acme:
    principals: {olga: [oncall], ada: [compliance]}
    grants:
      - {roles: [oncall], purposes: [incident]}
"""

    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            await shelve(it.data, scripted())
            (it.data / "access.yaml").write_text(policy)
            seen = await it.recorded.session(OPERATOR, TENANT, SESSION)
            assert seen is not None
            assert "nothing of what came in" in seen.withheld
            assert seen.evidence == []
            assert "hello" not in msgspec.json.encode(seen).decode()
            for who in (VIEWER, ADMIN):
                denied = await it.recorded.session(who, TENANT, SESSION)
                assert denied is not None
                assert (denied.turns, denied.transcript) == ([], [])
                assert "not for you" in denied.withheld
            (it.data / "access.yaml").write_text("no policy at all")
            broken = await it.recorded.session(OPERATOR, TENANT, SESSION)
            assert broken is not None
            assert broken.turns == []
            assert broken.withheld
            audited = await it.audited()
            assert ("olga", "recordings.access", "done") in audited
            assert ("vera", "recordings.access", "deny") in audited

    readers.play(main())


def test_a_recording_that_is_damaged_is_told_as_such_and_the_next_one_is_read(
    readers: Readers, tmp_path: Path
) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            good = scripted_bytes(SESSION, TENANT)
            lies = renamed(
                simulated_bytes(7), "lies", "another"
            )  # its head says another tenant than its folder
            await shelve(
                it.data,
                {
                    (TENANT, SESSION): good,
                    (TENANT, "lies"): lies,
                    (TENANT, "torn"): renamed(good, "torn", TENANT)[:-40],
                },
            )
            torn = await it.recorded.session(OPERATOR, TENANT, "torn")
            assert torn is not None
            assert torn.turns
            bad = await it.recorded.session(OPERATOR, TENANT, "lies")
            assert bad is not None
            assert (bad.turns, bad.transcript) == ([], [])
            assert bad.withheld
            again = await it.recorded.session(OPERATOR, TENANT, SESSION)
            assert again is not None
            assert len(again.turns) == 2

    readers.play(main())


def test_only_what_is_asked_for_is_read(readers: Readers, tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            await shelve(it.data, scripted())
            seen = await it.recorded.session(OPERATOR, TENANT, SESSION, {"item"})
            assert seen is not None
            assert seen.item.recorded
            assert await it.audited() == []
            turns = await it.recorded.session(OPERATOR, TENANT, SESSION, {"turns"})
            assert turns is not None
            assert turns.turns
            assert (turns.evidence, turns.summary, turns.resolved) == ([], None, None)
            assert {"turns", "evidence", "summary", "resolved"} <= ALL_PARTS

    readers.play(main())


def test_rows_come_in_pages_and_every_filter_gives_exactly_its_rows(readers: Readers, tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            call = renamed(simulated_bytes(7, 17), "call", TENANT)
            await shelve(it.data, {(TENANT, "call"): call})

            async def rows(**wanted: object) -> list[object]:
                page = await it.recorded.timeline(OPERATOR, TENANT, "call", {"first": 1_000, **wanted})
                assert page.next is None
                assert page.total == len(page.items)
                return list(page.items)

            every = await rows()
            assert [one.number for one in every] == list(range(1, len(every) + 1))  # type: ignore[attr-defined]
            assert sorted(every, key=lambda one: one.at_ms) == every  # type: ignore[attr-defined]
            for field in ("kind", "node", "lane", "turn"):
                for value in {getattr(one, field) for one in every} - {"", None}:
                    wanted = [one for one in every if getattr(one, field) == value]
                    assert await rows(**{field: value}) == wanted, (field, value)
            assert await rows(kind="signal", turn=1, lane="control") == [
                one
                for one in every
                if (one.kind, one.turn, one.lane) == ("signal", 1, "control")  # type: ignore[attr-defined]
            ]
            assert await rows(node="nobody") == []
            paged: list[object] = []
            after: int | None = 0
            while after is not None:
                page = await it.recorded.timeline(
                    OPERATOR, TENANT, "call", {"first": 7, "after": after, "lane": "data"}
                )
                paged += page.items
                after = page.next
            assert paged == await rows(lane="data")
            far = await it.recorded.timeline(OPERATOR, TENANT, "call", {"first": -5, "after": 10**9})
            assert (far.items, far.next, far.total) == ([], None, len(every))

    readers.play(main())


def test_a_replay_and_a_comparison_say_where_the_first_difference_is(
    readers: Readers, tmp_path: Path
) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            one, two = (renamed(simulated_bytes(7, number), f"s{number}", TENANT) for number in (17, 36))
            await shelve(it.data, {(TENANT, "s17"): one, (TENANT, "s36"): two, **scripted()})
            same = await it.recorded.replay(OPERATOR, TENANT, "s17")
            assert same is not None
            assert same.same, same.message
            assert same.compared > 100
            assert len(same.digest) == 64
            assert same.divergence is None
            other = await it.recorded.replay(
                OPERATOR, TENANT, SESSION
            )  # written by hand: no kernel does that
            assert other is not None
            assert not other.same
            assert other.message
            itself = await it.recorded.diff(OPERATOR, TENANT, "s17", "s17")
            apart = await it.recorded.diff(OPERATOR, TENANT, "s17", "s36")
            assert itself is not None
            assert apart is not None
            assert itself.same
            assert itself.differences == []
            assert not apart.same
            assert apart.differences[0]["class"].endswith("_DIVERGENCE")
            assert await it.recorded.diff(OPERATOR, TENANT, "s17", "nowhere") is None
            masked = await it.recorded.replay(VIEWER, TENANT, "s17")
            assert masked is not None
            assert masked.same, masked.message

    readers.play(main())


def test_a_name_with_a_slash_in_it_is_a_session_as_any_other(readers: Readers, tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            await shelve(it.data, {**scripted(session="call/1"), **scripted("other", "call/1")})
            seen = await it.recorded.session(OPERATOR, TENANT, "call/1")
            assert seen is not None
            assert len(seen.turns) == 2
            assert seen.item.tenant == TENANT
            assert await it.recorded.session(OPERATOR, "other", "call/1") is None

    readers.play(main())


def test_a_session_that_was_recorded_in_two_parts_shows_the_newer_and_names_the_other(
    readers: Readers, tmp_path: Path
) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            first, second = (
                renamed(simulated_bytes(7, number), "s", TENANT, at) for number, at in ((17, 1), (36, 2))
            )
            await shelve(it.data, {(TENANT, "s"): first})
            await shelve(it.data, {(TENANT, "s"): second})
            newest = await it.recorded.session(OPERATOR, TENANT, "s")
            assert newest is not None
            assert newest.item.opened_ms == 2
            older, newer = await it.places.runs(TENANT, "s", 0)
            assert f"recorded apart: {part_name(older)}." in newest.withheld
            before = await it.recorded.session(OPERATOR, TENANT, part_name(older))
            assert before is not None
            assert (before.item.opened_ms, before.transcript == newest.transcript) == (1, False)
            assert before.item.id == part_name(older)
            rows = [await it.recorded.timeline(OPERATOR, TENANT, name, {}) for name in (before.item.id, "s")]
            assert rows[0].items != rows[1].items
            for name in (newer.found.name, part_name(newer)):
                same = await it.recorded.session(OPERATOR, TENANT, name)
                assert same is not None
                assert same.transcript == newest.transcript
            assert await it.recorded.session(OPERATOR, TENANT, "s~nothing") is None
            assert await it.recorded.session(RIVAL, TENANT, part_name(older)) is None
            differs = await it.recorded.diff(OPERATOR, TENANT, "s", part_name(older))
            assert differs is not None
            assert not differs.same

    readers.play(main())


def test_a_look_that_cannot_be_put_on_record_is_no_look(
    readers: Readers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            await shelve(it.data, scripted())
            written = it.plane.audit.done

            async def full(*_: object, **__: object) -> None:
                raise AuditFault("audit_sink_write_failed", "no room")

            monkeypatch.setattr(it.plane.audit, "done", full)
            for _ in range(2):  # and it is not taken for one that is on record
                shut = await it.recorded.session(OPERATOR, TENANT, SESSION)
                assert shut is not None
                assert (shut.turns, shut.transcript) == ([], [])
                assert "audit_sink_write_failed" in shut.withheld
            monkeypatch.setattr(it.plane.audit, "done", written)
            again = await it.recorded.session(OPERATOR, TENANT, SESSION)
            assert again is not None
            assert again.turns

    readers.play(main())


PRICES = "{currency: EUR, prices: {llm-a: {per_call: 2.0}, llm-b: {per_call: 2.0}}}"


@pytest.mark.parametrize(("table", "priced"), [(None, False), (PRICES, True), ("prices: [no table]", False)])
def test_a_session_costs_what_the_folders_own_table_says(
    readers: Readers, tmp_path: Path, table: str | None, priced: bool
) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            await shelve(it.data, scripted())
            if table is not None:
                (it.data / "prices.yaml").write_text(table)
            seen = await it.recorded.session(OPERATOR, TENANT, SESSION)
            assert seen is not None
            assert isinstance(seen.summary, dict)
            cost = seen.summary["cost"]
            assert (cost is not None) is priced
            if priced:
                assert (cost["currency"], cost["total"] > 0) == ("EUR", True)

    readers.play(main())
