"""Ledgers and the audit log are held against each other, both ways."""

from __future__ import annotations

from typing import Any

from rspp.cli.release.matching import (
    Record,
    differences,
    is_of,
    placed,
    unsettled,
)
from rspp.cli.release.reports import Change
from tests.unit.cli.release.fixed import SETTINGS

MINE = SETTINGS.reason


def record(action: str, decision: str, number: int, intent: int = 0, **more: Any) -> Record:
    facts = {"reason": MINE, **({"intent": f"w[{intent}]"} if intent else {})}
    given = {
        "at_ms": SETTINGS.begun_wall_ms + number,
        "principal": "amy",
        "place": f"w[{number}]",
        "facts": facts,
    }
    return Record(action=action, decision=decision, **{**given, **more})


def change(action: str, number: int, how: str = "done", decision: str = "done") -> Change:
    return Change(action=action, how=how, place=f"w[{number}]" if number else "", decision=decision)


CANARY = (record("rollout.canary", "allow", 1), record("rollout.canary", "done", 2, 1))


def test_what_both_say_is_no_difference() -> None:
    assert differences([change("rollout.canary", 2)], CANARY) == ()


def test_what_was_done_and_stands_in_no_ledger_is_told() -> None:
    assert differences([], CANARY) == ("the log says that rollout.canary was done (w[2]); no ledger does",)


def test_what_a_ledger_says_and_the_log_does_not_is_told() -> None:
    assert "the log does not" in differences([change("rollout.promote", 9)], CANARY)[0]
    assert differences([change("rollout.canary", 0)], ())[0].startswith("a ledger says that rollout.canary")


def test_a_place_that_holds_something_else_is_told() -> None:
    assert "is rollout.canary allow" in differences([change("rollout.canary", 1)], CANARY[:1])[0]


def test_a_change_of_somebody_to_whom_the_log_is_not_shown_is_the_next_one_of_its_kind() -> None:
    unseen = change("rollout.canary", 0, decision="")
    assert differences([unseen], CANARY) == ()
    assert differences([unseen], CANARY[:1]) == ()
    assert len(differences([unseen, unseen], CANARY)) == 1
    assert len(differences([unseen], [record("rollout.promote", "done", 2)])) == 2


def test_a_change_whose_end_was_never_written_is_known_by_its_beginning() -> None:
    begun = CANARY[:1]
    assert placed(begun, "rollout.canary") == ("w[1]", "allow")
    assert differences([change("rollout.canary", 1, "adopted", "allow")], begun) == ()


def test_what_was_begun_in_vain_before_it_was_done_is_no_difference() -> None:
    log = (
        record("rollout.canary", "allow", 1),
        *(record("rollout.canary", one, n, i) for one, n, i in (("allow", 2, 0), ("done", 3, 2))),
    )
    assert placed(log, "rollout.canary") == ("w[3]", "done")
    assert differences([change("rollout.canary", 3)], log) == ()
    assert [one.place for one in unsettled(log)] == ["w[1]"]


def test_a_publication_that_was_done_twice_is_told_though_both_stand_in_a_ledger() -> None:
    log = [record("pipelines.publish", "done", number) for number in (1, 2)]
    both = [change("pipelines.publish", number) for number in (1, 2)]
    assert differences(both, log) == ("pipelines.publish was done 2 times",)


def test_what_failed_or_was_there_already_is_no_change() -> None:
    assert (
        differences(
            [Change(action="rollout.canary", how="already")], [record("rollout.canary", "failed", 2, 1)]
        )
        == ()
    )


def test_a_release_knows_its_records_by_its_name_and_by_nothing_else() -> None:
    def mine(one: Record) -> bool:
        return is_of(one, SETTINGS)

    assert mine(CANARY[0])
    assert mine(record("pipelines.publish", "done", 1))
    assert not mine(record("pipelines.publish", "done", 1, facts={"text": "the very same"})), "by hand"
    assert not mine(record("rollout.canary", "done", 1, facts={"reason": "release other@v1-00"}))
    assert not mine(record("rollout.rollback", "done", 1, facts={"reason": f"because of {MINE}"}))
    assert not mine(record("rollout.freeze_all", "done", 1))
    assert mine(record("rollout.canary", "done", -86_400_000)), "whatever the clocks say"
