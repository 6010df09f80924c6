"""One taxonomy: each of the five error classes does what the matrix says, and says the same things about itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from rspp.contract.codes import CODES
from rspp.contract.decisions import DecisionOutcome
from rspp.contract.errors import ERROR_CLASSES, ErrorClassName, Retry
from rspp.contract.event import Event, Signal
from rspp.contract.words import OutcomeClass
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.hosting import Context
from rspp.spec import voice_template
from rspp.testing.rig import Rig

E = ErrorClassName


class Odd:
    """A node that fails in a way that nobody has a class for."""

    class UnheardOfError(Exception):
        pass

    def on_event(self, ctx: Context, port: str, event: object) -> None:
        raise self.UnheardOfError("words of the payload")


def talking() -> Rig:
    rig = Rig(voice_template({"stt": ["a"], "llm": ["b", "c"], "tts": ["d"]}))
    rig.connect()
    rig.type("hello")
    return rig


def malformed() -> Rig:
    rig = talking()
    rig.give(i.MalformedReceived("field_missing", "payload.rate", "audio carries its rate"))
    return rig


def stale() -> Rig:
    rig = talking()
    rig.type("again", epoch=6)
    return rig


def timed_out() -> Rig:
    rig = talking()
    rig.advance(1_000)
    return rig


def overloaded() -> Rig:
    rig = talking()
    rig.fail("llm", OutcomeClass.OVERLOAD)
    return rig


def unclassified() -> Rig:
    rig = Rig(factories={"segmenter": lambda config: Odd()})
    rig.connect()
    rig.type("hello")
    rig.tokens("Anything.")
    return rig


# Class -> what triggers it, the signal that tells of it, and the node that it names.
TRIGGERS: dict[E, tuple[Callable[[], Rig], str, str]] = {
    E.SCHEMA_VALIDATION_ERROR: (malformed, "abi_rejected", "caller"),
    E.AUTHORITY_EPOCH_MISMATCH: (stale, "stale_epoch_reject", "caller"),
    E.PROVIDER_TIMEOUT: (timed_out, "provider_error", "llm"),
    E.PROVIDER_OVERLOAD: (overloaded, "provider_error", "llm"),
    E.RUNTIME_INTERNAL_ERROR: (unclassified, "error_raised", "segmenter"),
}


def told(rig: Rig, name: str) -> tuple[Event, dict[str, object]]:
    event = rig.events(name)[0]
    assert isinstance(event.payload, Signal)
    return event, dict(event.payload.detail or {})


def class_of(event: Event) -> str:
    """How an error event is counted: by its class, whichever code says more."""
    assert isinstance(event.payload, Signal)
    code = str((event.payload.detail or {})["code"])
    return code if code in set(E) else str(event.payload.reason)


@pytest.mark.proves("F-131")
def test_every_class_has_its_trigger_here() -> None:
    assert set(TRIGGERS) == set(ERROR_CLASSES) == set(E)


@pytest.mark.proves("F-131")
@pytest.mark.parametrize("name", list(E))
def test_an_error_event_carries_code_node_message_and_whether_to_retry(name: E) -> None:
    trigger, signal, node_id = TRIGGERS[name]
    event, detail = told(trigger(), signal)
    assert detail["code"] in CODES
    assert class_of(event) == name
    assert event.node_id == node_id
    assert isinstance(detail["message"], str)
    assert len(detail["message"]) > 10
    # A conditional retry depends on what the provider says; for the others there is none.
    assert isinstance(detail["retryable"], bool)
    if ERROR_CLASSES[name].retry is Retry.NO:
        assert detail["retryable"] is False


@pytest.mark.proves("F-131")
def test_a_broken_message_is_refused_with_code_and_path_and_nothing_else_changes() -> None:
    rig = malformed()
    _, detail = told(rig, "abi_rejected")
    assert (detail["code"], detail["path"]) == ("field_missing", "payload.rate")
    assert rig.names("abort") == []


@pytest.mark.proves("F-131")
def test_a_stale_epoch_is_refused_with_its_decision_on_record() -> None:
    rig = stale()
    kinds = [e.entry.outcome_kind.value for e in rig.of(fx.Record) if isinstance(e.entry, DecisionOutcome)]
    assert kinds == ["admit", "stale_epoch_reject"]
    assert rig.names("abort") == []
    assert len(rig.signals("turn_open_proposed")) == 1


@pytest.mark.proves("F-131")
def test_a_timeout_is_retried_and_says_how_much_budget_was_left() -> None:
    rig = timed_out()
    _, detail = told(rig, "provider_error")
    assert (detail["code"], detail["retryable"], detail["budget_left_ms"]) == (
        "provider_timeout",
        True,
        1_000,
    )
    assert [call.attempt for call in rig.of(fx.Invoke) if call.node_id == "llm"] == [1, 2]


@pytest.mark.proves("F-131")
def test_an_overload_leads_to_another_provider_or_to_a_degraded_session() -> None:
    switched = overloaded()
    assert [call.provider for call in switched.of(fx.Invoke) if call.node_id == "llm"] == ["b", "c"]
    assert switched.names("provider_switch") == ["provider_switch"]
    degraded = talking()
    degraded.tokens("Yes.")
    degraded.fail("tts", OutcomeClass.OVERLOAD)
    assert degraded.names("degraded") == ["degraded"], "without another voice"
    assert degraded.names("abort") == []


@pytest.mark.proves("F-131")
def test_an_exception_that_nobody_classified_is_an_internal_error_and_ends_the_turn_by_name() -> None:
    rig = unclassified()
    assert rig.signals("error_raised")[0].reason == "runtime_internal_error"
    assert rig.signals("abort")[0].reason == "node_timeout_or_failure"
    evidence = rig.of(fx.StoreEvidence)[-1].evidence
    assert evidence.terminal_reason == "node_timeout_or_failure"
    assert not any("words of the payload" in str(signal) for signal in rig.signals())


@pytest.mark.proves("F-131")
def test_errors_can_be_filtered_and_counted_by_their_class() -> None:
    rig = talking()
    for _ in range(3):
        rig.give(i.MalformedReceived("truncated", "", "ends too early"))
    rig.type("again", epoch=6)
    rig.advance(1_000)
    errors = [
        effect.event
        for effect in rig.of(fx.Announce)
        if isinstance(effect.event.payload, Signal) and "code" in (effect.event.payload.detail or {})
    ]
    assert Counter(map(class_of, errors)) == {
        "schema_validation_error": 3,
        "authority_epoch_mismatch": 1,
        "provider_timeout": 1,
    }
