"""The last turn of each session: its number, how it came out and how soon; and nothing that was said."""

from __future__ import annotations

import msgspec

from rspp.contract.event import Signal
from rspp.contract.signals import SignalName
from rspp.contract.surface import Level, Row
from rspp.contract.words import AbortReason
from rspp.control.fleet import turns
from rspp.control.fleet.turns import LastTurns
from rspp.host.conditions import reader
from rspp.kernel.snapshot import ClockAnchor, OpenRequest
from rspp.spec import voice_template
from tests.unit.contract.samples import evidence

MS = 1_000_000
OPEN = Signal(SignalName.TURN_OPEN.value, "rspp.kernel.arbiter")
GRAPH = voice_template()


def opened(session: str = "s1", next_turn: int = 1) -> OpenRequest:
    return OpenRequest(
        session_id=session,
        tenant_id="acme",
        pipeline_version="v1",
        epoch=1,
        lease_token="5ec2e7",
        lease_expires_at=1,
        anchor=ClockAnchor(monotonic=0, wall=0),
        next_turn=next_turn,
    )


def only(last: LastTurns) -> Row:
    (row,) = last.rows()
    return row


def test_a_session_has_no_turn_until_it_opens_one_and_its_number_goes_on_where_it_came_from() -> None:
    last = LastTurns()
    last.opened(opened(next_turn=4), GRAPH)
    assert last.rows() == []
    last.heard("s1", OPEN)
    assert (only(last).state, only(last).facts["turn"], only(last).tenant_id) == ("open", 4, "acme")
    assert only(last) is only(last)
    last.heard("s1", Signal(SignalName.COMMIT.value, "rspp.kernel.arbiter"))
    last.heard("nobody", OPEN)
    assert only(last).state == "open"


def test_a_turn_that_is_over_tells_how_it_came_out_and_how_soon_it_was_heard() -> None:
    last = LastTurns()
    last.opened(opened(), GRAPH)
    last.heard("s1", OPEN)
    last.turn(
        "s1",
        evidence(
            turn_open_at=100 * MS,
            first_output_at=420 * MS,
            playback_started_at=460 * MS,
            terminal_outcome="commit",
        ),
    )
    row = only(last)
    assert (row.state, row.level, row.facts["first_output_ms"], row.facts["heard_ms"]) == (
        "commit",
        Level.OK,
        320,
        360,
    )
    assert b"5ec2e7" not in msgspec.json.encode(row)


def test_a_turn_that_failed_is_noticed_and_one_that_the_caller_cut_short_is_not() -> None:
    last = LastTurns()
    last.opened(opened(), GRAPH)
    for reason, level in (
        (AbortReason.CANCELLED, Level.OK),
        (AbortReason.PROVIDER_FAILURE, Level.NOTICE),
    ):
        last.heard("s1", OPEN)
        last.turn("s1", evidence(terminal_outcome="abort", terminal_reason=reason))
        assert (only(last).level, only(last).facts["because"]) == (level, reason.value)
    assert only(last).reason == "turn_failed"


def test_a_session_that_is_over_says_nothing_any_more_and_rows_are_those_of_the_surface() -> None:
    last = LastTurns()
    last.opened(opened(), GRAPH)
    last.heard("s1", OPEN)
    value = msgspec.json.encode(only(last))
    assert reader(turns.SURFACE.name)("w1/turns/=acme/s1", value) == only(last)
    last.over("s1", "closed")
    last.heard("s1", OPEN)
    last.turn("s1", evidence())
    assert last.rows() == []
