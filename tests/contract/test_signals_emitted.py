"""Whatever a kernel announces, decides or asks for is what the contract says it may be, and survives being written."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from rspp.contract.decisions import LEGAL, DecisionOutcome
from rspp.contract.event import Signal, flatten
from rspp.contract.rules import check_decision, check_event, check_history
from rspp.contract.signals import SIGNALS
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.testing.rig import Rig
from tests.contract.sessions import SESSIONS

every_session = pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.__name__)
# These have tests of their own, of the parts that announce them; the sessions here need not contrive them all.
NOT_IN_THESE = {
    *(
        "credit_grant",
        "flow_xoff",
        "flow_xon",
        "watermark",
        "route_chosen",
        "fallback",
        "degrade",
        "barge_in",
    ),
    *(
        "fallback_activated",
        "dead_lettered",
        "stop",
        "turn_confirmed",
        "turn_superseded",
        "transcript_amended",
    ),
    *("caller_idle", "backchannel", "recovered"),
}


@every_session
def test_every_signal_keeps_its_row_of_the_registry(session: Callable[[], Rig]) -> None:
    announced = [effect.event for effect in session().of(fx.Announce)]
    assert announced
    for event in announced:
        assert isinstance(event.payload, Signal)
        rule = SIGNALS[event.payload.signal]
        assert event.payload.emitted_by in rule.emitters, event
        assert check_event(event) == [], event


@every_session
def test_every_event_that_leaves_is_whole(session: Callable[[], Rig]) -> None:
    rig = session()
    left = [effect.event for effect in rig.of(fx.Send)]
    left += [effect.event for effect in rig.of(fx.Observe)]
    left += [effect.event for effect in rig.of(fx.Feed)]
    for event in left:
        assert check_event(event) == [], event


@every_session
def test_every_decision_is_a_row_of_the_table_of_decisions(session: Callable[[], Rig]) -> None:
    for effect in session().of(fx.Record):
        if isinstance(effect.entry, DecisionOutcome):
            made = effect.entry
            assert made.scope in LEGAL[made.outcome_kind, made.emitted_by][made.phase]
            assert check_decision(made) == [], made


@every_session
def test_no_refused_turn_has_a_terminal(session: Callable[[], Rig]) -> None:
    items = [
        effect.entry if isinstance(effect, fx.Record) else flatten(effect.event, 0)
        for _, effect in session().effects
        if isinstance(effect, fx.Announce)
        or (isinstance(effect, fx.Record) and isinstance(effect.entry, DecisionOutcome))
    ]
    assert check_history(items) == []  # type: ignore[arg-type]


@every_session
def test_every_effect_and_input_is_the_same_after_it_was_written_and_read(session: Callable[[], Rig]) -> None:
    rig = session()
    for value, kind in (
        *((effect, fx.AnyEffect) for _, effect in rig.effects),
        *((received, i.AnyInput) for _, received in rig.inputs),
    ):
        for library in (msgspec.msgpack, msgspec.json):
            written = library.encode(value, order="deterministic")
            again = library.decode(written, type=kind)
            assert type(again) is type(value)
            assert library.encode(again, order="deterministic") == written


def test_these_sessions_between_them_announce_nearly_every_signal() -> None:
    """A look-over that looks at nothing proves nothing: what is never announced here is named."""
    seen = {signal.signal for session in SESSIONS for signal in session().signals()}
    missing = set(SIGNALS) - seen
    assert missing <= NOT_IN_THESE, sorted(missing - NOT_IN_THESE)


def test_a_signal_from_the_wrong_module_or_without_its_fields_is_caught() -> None:
    (event, *_) = (e.event for e in SESSIONS[0]().of(fx.Announce) if e.event.payload.signal == "turn_open")  # type: ignore[union-attr]
    assert isinstance(event.payload, Signal)
    forged = msgspec.structs.replace(
        event, payload=msgspec.structs.replace(event.payload, emitted_by="planner")
    )
    assert [v.code for v in check_event(forged)] == ["signal_emitter_illegal"]
    unscoped = msgspec.structs.replace(event, scope=msgspec.structs.replace(event.scope, turn_id=None))
    assert {v.code for v in check_event(unscoped)} == {"signal_scope_illegal", "field_missing"}
    bare = msgspec.structs.replace(event, payload=Signal("abort", "arbiter"))
    assert [v.path for v in check_event(bare)] == ["reason"]
