"""One session's redactor: stand-ins at once, texts when they are known, and nothing that a peer wrote goes by unseen."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest

from rspp.contract.event import Fault, Note, Sample, Text
from rspp.contract.words import CancelScope, OutcomeClass, RecordingLevel
from rspp.host.ports import Stepped
from rspp.kernel import inputs as i
from rspp.kernel.hosting import Output
from rspp.kernel.memory import CONVERSATION, conversation_in
from rspp.kernel.shapes import shape
from rspp.kernel.snapshot import ClockAnchor, Durable, OpenRequest
from rspp.kernel.trace import Item
from rspp.spec import compile_text
from rspp.spec.graph import GraphDefinition
from rspp.testing.clean import assert_clean
from rspp.timeline.ports import Redactor
from rspp.timeline.redaction.policy import RedactionPolicy, policy_of
from rspp.timeline.redaction.session import SessionRedactor

CARD = "4111 1111 1111 1111"
MAIL = "jane.doe@example.com"
SPEC = """
pipeline: stage
version: v1
template: voice
providers:
  vad: [scripted-vad]
  end_of_turn: [scripted-end-of-turn]
  stt: [scripted-stt]
  llm: [scripted-llm]
  tts: [scripted-tts]
"""


def graph() -> GraphDefinition:
    return compile_text(SPEC)


def request(**changes: Any) -> OpenRequest:
    fields: dict[str, Any] = {
        "session_id": "s1",
        "tenant_id": "t",
        "pipeline_version": "v1",
        "epoch": 1,
        "lease_token": "lease-8f7e6d5c4b3a",
        "lease_expires_at": 10,
        "anchor": ClockAnchor(monotonic=0, wall=0),
        **changes,
    }
    return OpenRequest(**fields)


def redactor(policy: RedactionPolicy | None = None) -> SessionRedactor:
    made = SessionRedactor(policy or RedactionPolicy(), "t")
    made.request(request())
    made.graph(graph())
    return made


def written(*records: object) -> bytes:
    return msgspec.msgpack.encode(records, enc_hook=str)


def says(text: str, **more: Any) -> i.CallProduced:
    return i.CallProduced("stt", 1, 0, Text(text, role="user", **more))


def test_it_is_what_the_recorder_asks_for() -> None:
    made: Redactor = redactor()
    assert made.policy_id.startswith("contract@")
    assert "Redactor" in repr(made)
    assert len(repr(made)) < 80


def test_a_text_has_a_stand_in_at_once_and_is_given_when_its_final_is_known() -> None:
    made = redactor()
    taken = made.take(1, 0, says(f"my card is {CARD}"))
    assert_clean(written(taken), [CARD, "card is"])
    waiting = made.settling
    assert waiting
    assert made.settled() == []
    made.take(2, 1, says(f"my card is {CARD}, ok", revision=1, final=True))
    first, second = made.settled()
    assert first.text.startswith("my card is ")
    assert_clean(written(first, second), [CARD])
    assert not made.settling
    assert made.tainted
    assert made.withheld == 2
    assert isinstance(taken, i.CallProduced)
    assert isinstance(taken.payload, Text)
    assert shape(taken.payload.text) == shape(first.text)


def test_a_harmless_text_is_whole_and_taints_nothing() -> None:
    made = redactor()
    made.take(1, 0, says("what a nice day", final=True))
    (spoken,) = made.settled()
    assert (spoken.text, spoken.masked) == ("what a nice day", [])
    assert (made.tainted, made.withheld, made.settling) == (False, 0, False)


def test_with_the_texts_hashed_there_are_only_stand_ins() -> None:
    made = redactor(policy_of("{name: h, everybody: {text_raw: {L1: hash}}}"))
    made.take(1, 0, says("what a nice day", final=True))
    assert made.settled(all_of_it=True) == []
    assert made.tainted
    assert made.withheld == 1


def test_with_all_allowed_secrets_are_still_masked() -> None:
    made = redactor(policy_of("{name: a, everybody: {text_raw: {L1: allow}}}"))
    made.take(1, 0, says(f"write to {MAIL}, my password is hunter2, ok", final=True))
    (spoken,) = made.settled()
    assert MAIL in spoken.text
    assert "hunter2" not in spoken.text


HOSTILE: list[i.Input] = [
    i.TextReceived(f"typed {CARD}", 1, idempotency_key=MAIL),
    i.ControlReceived(CARD, 1),
    i.ControlReceived("cancel", 1, reason=MAIL, scope=CancelScope.TURN, target=CARD, value=MAIL),
    i.ControlReceived(
        "digit", 1, value=CARD, extensions={"x.a": CARD, "x.b": [MAIL, {CARD: 4111111111111111}]}
    ),
    i.UnknownReceived(f"vendor.{MAIL}", 1, extensions={f"x.{MAIL}": {"deep": [CARD]}}),
    i.MalformedReceived("malformed", f"payload.{MAIL}", f"unknown field {CARD}"),
    i.CallProduced("c", 1, 0, Note(f"tool said {CARD}")),
    i.CallProduced("c", 1, 1, Text("ok", attributes={"who": MAIL, MAIL: CARD})),
    i.CallFailed("c", 1, OutcomeClass.INFRASTRUCTURE_FAILURE, f"refused: {MAIL} {CARD}"),
    i.FactChanged("mail", MAIL),
    i.FactChanged(CARD, True),
    i.DurableAttached(Durable(revision=1, values={"history": [["user", CARD]], "x": {MAIL: [CARD]}}), 1),
    i.RoutingViewPublished(1, 1, "https://user:hunter2hunter2@host.example/x"),
    i.SnapshotLost(f"no {MAIL}"),
    i.CloseRequested(f"asked by {MAIL}"),
    i.NodeRaised("n", f"Error {CARD}"),
    i.DeliveryReported(MAIL, f"turn {CARD}"),
    i.CreditGranted(CARD, 1),
    i.CallProduced("c", 1, 2, Text("ok", role=MAIL, language=CARD), port=MAIL),
    i.CallProduced("c", 1, 3, Sample(MAIL, 1.0, CARD)),
    i.FactChanged("card", float(4111111111111111)),
    i.CircuitReset(MAIL),
    i.PoolChanged(MAIL),
    i.MigrationChanged(MAIL, 1),
    i.LeaseChanged("rotated", 2, token="lease-0a1b2c3d4e5f"),
]


@pytest.mark.parametrize("received", HOSTILE, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("action", ["mask", "hash"])
def test_what_a_peer_may_have_written_anywhere_is_gone(received: i.Input, action: str) -> None:
    made = redactor(policy_of(f"{{name: x, everybody: {{text_raw: {{L1: {action}}}}}}}"))
    taken = made.take(1, 0, received)
    made.take(2, 1, i.CallFinished("c", 1))
    data = written(taken, made.settled(all_of_it=True))
    assert_clean(data, [CARD, MAIL, "hunter2hunter2", "lease-0a1b2c3d4e5f", "jane.doe"])
    assert type(taken) is type(received)
    if not isinstance(received, i.LeaseChanged | i.CallFailed):
        assert made.tainted


def test_ordinary_inputs_stay_as_they_are() -> None:
    made = redactor()
    for received in (
        i.Woken(),
        i.CallAccepted("c", 1),
        i.DeliveryReported("position", "s1/turn-12", 40),
        i.ControlReceived(
            "cancel", 3, reason="user_cancel", scope=CancelScope.CALL, target="pvi/s1/s1/turn-3/llm-1309/llm"
        ),
        i.ControlReceived("digit", 4, value="#"),
        i.UnknownReceived("vendor.thing", 5, extensions={"x.y": 3, "x.z": "plain words"}),
        i.FactChanged("language", "de"),
        i.CallFailed("c", 1, OutcomeClass.OVERLOAD, "rate_limited"),
        i.NodeMeasured("n", 3),
    ):
        assert made.take(1, 0, received) == received
    assert made.withheld == 0


def test_equal_tokens_and_keys_have_equal_stand_ins() -> None:
    made = SessionRedactor(RedactionPolicy(), "t")
    opened = made.request(request())
    taken = made.take(1, 0, i.LeaseChanged("renewed", 1, token="lease-8f7e6d5c4b3a"))
    assert isinstance(taken, i.LeaseChanged)
    assert taken.token == opened.lease_token != "lease-8f7e6d5c4b3a"
    keys = [
        made.take(n, 0, i.TextReceived("x", n, idempotency_key=key)) for n, key in enumerate(("1", "2", "1"))
    ]
    seen = [key.idempotency_key for key in keys if isinstance(key, i.TextReceived)]
    assert seen[0] == seen[2] != seen[1]


@pytest.mark.parametrize("whole", [True, False])
def test_a_resumed_conversation_is_known_by_its_shape_alone(whole: bool) -> None:
    made = SessionRedactor(RedactionPolicy(), "t")
    values = {"history": [["user", f"I am {MAIL}"]], "next_turn": 4, "keys": {MAIL: [1, 2]}}
    resume = Durable(revision=3, values={CONVERSATION: values} if whole else values)
    opened = made.request(request(resume=resume))
    assert_clean(written(opened), [MAIL, "I am"])
    assert opened.resume is not None
    assert conversation_in(opened.resume.values)["next_turn"] == 4
    assert made.withheld > 0


def test_a_secret_that_stands_in_a_pipeline_is_not_recorded_and_a_reference_is() -> None:
    plain = graph()
    settings = {
        "openai": {
            "use": "openai",
            "api_key": "env://OPENAI_KEY",
            "headers": {"Authorization": "Bearer abcdef0123456789"},
        }
    }
    node = msgspec.structs.replace(
        plain.nodes[0], config={"note": "key sk-abcdefghijklmnop1234567890", "n": 3}
    )
    changed = msgspec.structs.replace(plain, provider_settings=settings, nodes=(node, *plain.nodes[1:]))
    kept = SessionRedactor(RedactionPolicy(), "t").graph(changed)
    assert_clean(written(kept), ["abcdef0123456789", "sk-abcdefghijklmnop1234567890"])
    assert kept.provider_settings["openai"]["api_key"] == "env://OPENAI_KEY"
    assert kept.nodes[0].config["n"] == 3
    assert SessionRedactor(RedactionPolicy(), "t").graph(plain) == plain


def test_what_a_node_made_is_known_by_its_shape_alone() -> None:
    stepped = Stepped(
        "n",
        "on_event",
        (
            Output("text", Text(f"I read {CARD}", role="user", attributes={"who": MAIL})),
            Output("", Note(f"note {MAIL}")),
            Output("", Sample("filter.card", 1.0)),
            Output("error", Fault("code", f"bad {CARD}")),
        ),
        (("seen", {"mail": MAIL, "n": [CARD]}),),
    )
    kept = redactor().stepped(stepped)
    assert_clean(written(kept), [CARD, MAIL, "I read"])
    assert kept.outputs[2] == stepped.outputs[2]
    text, original = kept.outputs[0].payload, stepped.outputs[0].payload
    assert isinstance(text, Text)
    assert isinstance(original, Text)
    assert shape(text.text) == shape(original.text)


def test_a_signal_that_repeats_a_peer_s_words_is_told_without_them() -> None:
    made = redactor()
    taken = made.take(1, 0, i.UnknownReceived(f"vendor.{MAIL}", 1, core=True))
    assert isinstance(taken, i.UnknownReceived)
    detail = {
        "code": "event_kind_unknown",
        "message": f"{f'vendor.{MAIL}'!r} is not known here",
        "path": "event_kind",
    }
    item = Item(1, 0, "signal", "abi_rejected", None, 1, 4, {"detail": detail})
    told = made.item(item)
    assert told.facts["detail"]["message"] == f"{taken.kind!r} is not known here"
    assert told.facts["detail"]["path"] == "event_kind"
    plain = Item(1, 0, "signal", "connected", None, 1, 4, {})
    assert made.item(plain) is plain


def test_a_value_that_a_condition_asks_about_stays() -> None:
    made = redactor(policy_of("{name: x, everybody: {text_raw: {L1: hash}}}"))
    assert made.take(1, 0, i.FactChanged("mood", "cross")) != i.FactChanged("mood", "cross")
    made._values.literals = frozenset({"cross"})
    assert made.take(1, 0, i.FactChanged("mood", "cross")) == i.FactChanged("mood", "cross")


def test_when_the_level_has_fallen_what_was_held_is_not_given() -> None:
    made = redactor()
    made.take(1, 0, says("what a nice day"))
    made.level = RecordingLevel.L0
    assert made.settled(all_of_it=True) == []
    assert made.withheld == 1


def test_two_sessions_have_nothing_in_common() -> None:
    text = says("please move my appointment")
    assert redactor().take(1, 0, text) != redactor().take(1, 0, text)


def test_a_path_and_a_port_that_a_node_made_up_are_told_without_what_is_in_them() -> None:
    made = redactor()
    fault = Fault("boom", "no", path=f"args.{MAIL}")
    stepped = Stepped(
        "segmenter", "on_event", (Output(MAIL, fault),), (("k", {"n": 4111111111111111.0}),), None
    )
    data = written(made.stepped(stepped))
    assert_clean(data, [MAIL, "jane.doe"])
    assert struct.pack(">d", 4111111111111111.0) not in data
