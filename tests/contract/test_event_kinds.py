"""One envelope for everything between nodes, six kinds of event, and an answer to what nobody knows."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from rspp.contract.codec import CodecError, decode_json, encode_json
from rspp.contract.event import Audio, Event, Fault, Note, Sample, Text
from rspp.contract.rules import check_event
from rspp.contract.words import Codec, EventKind
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.hosting import Context
from rspp.spec import SpecError, compile_text, voice_template
from rspp.testing.rig import Rig

SPEC = """
pipeline: kinds
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  source:
    type: custom
    version: v1
    implementation: 'a:Source'
    config: {does: speak}
    inputs: {in: [text]}
    outputs: {text: [text], audio: [audio], metrics: [metrics], debug: [debug], error: [error]}
  text: {type: custom, version: v1, implementation: 'a:Ear', config: {does: text}, inputs: {in: [text]}}
  audio: {type: custom, version: v1, implementation: 'a:Ear', config: {does: audio}, inputs: {in: [audio]}}
  metrics: {type: custom, version: v1, implementation: 'a:Ear', config: {does: metrics}, inputs: {in: [metrics]}}
  debug: {type: custom, version: v1, implementation: 'a:Ear', config: {does: debug}, inputs: {in: [debug]}}
  error: {type: custom, version: v1, implementation: 'a:Ear', config: {does: error}, inputs: {in: [error]}}
  control: {type: custom, version: v1, implementation: 'a:Ear', config: {does: control}, inputs: {in: [control]}}
  stt: {type: stt, version: v1}
  llm: {type: llm, version: v1}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.text, to: source.in}
  - {from: caller.control, to: control.in}
  - {from: caller.audio, to: stt}
  - {from: stt.final, to: llm}
  - {from: llm, to: tts}
  - {from: tts, to: speaker.audio}
  - {from: source.text, to: text.in}
  - {from: source.audio, to: audio.in}
  - {from: source.metrics, to: metrics.in}
  - {from: source.debug, to: debug.in}
  - {from: source.error, to: error.in}
turn_input: stt.final
providers: {stt: a, llm: b, tts: c}
policies: {unknown_events: UNKNOWN}
"""


class Speaking:
    """Says one thing of every kind that a node may say, to whoever declared an interest."""

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        ctx.emit("text", Text("words"))
        ctx.emit("audio", Audio(b"\0" * 640, 320, 0))
        ctx.emit("metrics", Sample("level", 1.0))
        ctx.emit("debug", Note("remark"))
        ctx.emit("error", Fault("word_unknown", "no such word"))


class Ear:
    """Keeps what reaches it."""

    def __init__(self, heard: list[Event]) -> None:
        self.heard = heard

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        self.heard.append(event)


def listening(unknown: str = "reject") -> tuple[Rig, dict[str, list[Event]]]:
    heard: dict[str, list[Event]] = {kind.value: [] for kind in EventKind}

    def made(config: Mapping[str, object]) -> Speaking | Ear:
        does = str(config["does"])
        return Speaking() if does == "speak" else Ear(heard[does])

    rig = Rig(compile_text(SPEC.replace("UNKNOWN", unknown)), {"custom": made})
    rig.connect()
    return rig, heard


@pytest.mark.proves("F-022")
def test_each_of_the_six_kinds_reaches_those_who_declared_it_and_nobody_else() -> None:
    rig, heard = listening()
    rig.type("go")
    rig.control("digit", value="7")
    assert {kind: [event.kind.value for event in events] for kind, events in heard.items()} == {
        kind.value: [kind.value] for kind in EventKind
    }


@pytest.mark.proves("F-022")
@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (
            "config: {does: text}, inputs: {in: [text]}",
            "config: {does: text}, inputs: {in: [smell]}",
            "smell",
        ),
        ("from: source.audio, to: audio.in", "from: source.audio, to: text.in", "audio"),
    ],
)
def test_an_interest_in_a_kind_that_is_not_or_does_not_come_is_refused(old: str, new: str, code: str) -> None:
    assert old in SPEC
    with pytest.raises(SpecError, match=code):
        compile_text(SPEC.replace("UNKNOWN", "reject").replace(old, new))


@pytest.mark.proves("F-020")
def test_whatever_crosses_an_edge_is_one_envelope() -> None:
    rig, heard = listening()
    rig.type("go")
    rig.control("digit", value="7")
    crossed = [event for events in heard.values() for event in events]
    crossed += [effect.event for effect in rig.of(fx.Announce)]
    crossed += [effect.event for effect in rig.of(fx.Observe)]
    assert len(crossed) > 10
    for event in crossed:
        assert check_event(event) == [], event


@pytest.mark.proves("F-020")
@pytest.mark.parametrize(("setting", "arrives"), [("drop", 0), ("pass_through", 5)])
def test_an_unknown_kind_is_dropped_or_passed_on_as_set_and_never_without_a_trace(
    setting: str, arrives: int
) -> None:
    rig, heard = listening(setting)
    rig.give(i.UnknownReceived("acme.wave", 1, extensions={"acme.height": 3}))
    (audit,) = rig.signals("unknown_event_handled")
    assert (audit.reason, audit.detail) == (setting, {"kind": "acme.wave"})
    assert sum(map(len, heard.values())) == arrives
    assert rig.names("abi_rejected") == []


@pytest.mark.proves("F-020")
def test_a_core_name_that_is_unknown_is_always_refused() -> None:
    rig, heard = listening("pass_through")
    rig.give(i.UnknownReceived("wave", 1, core=True))
    assert rig.signals("unknown_event_handled")[0].reason == "reject"
    assert [(s.detail or {})["code"] for s in rig.signals("abi_rejected")] == ["event_kind_unknown"]
    assert sum(map(len, heard.values())) == 0


@pytest.mark.proves("F-020")
@pytest.mark.parametrize("setting", ["forward", "DROP", "''", "7"])
def test_any_other_setting_is_an_error_of_the_configuration(setting: str) -> None:
    with pytest.raises(SpecError):
        compile_text(SPEC.replace("UNKNOWN", setting))


@pytest.mark.parametrize(
    "audio",
    [
        Audio(b"\0" * 640, 320, 0),
        Audio(b"\0" * 320, 160, 0, 8_000),
        Audio(b"\0" * 1920, 480, 0, 24_000, 2),
        Audio(b"opus", 960, 0, 48_000, 2, Codec.OPUS),
    ],
)
def test_what_the_recogniser_is_fed_says_of_itself_what_the_source_said(audio: Audio) -> None:
    """The kernel's half of F-023; the adapter's is the transport's."""
    rig = Rig()
    rig.connect()
    rig.give(i.AudioReceived(audio, 0))
    fed = [effect.event.payload for effect in rig.of(fx.Feed) if "stt" in effect.call_id]
    assert fed == [audio]


@pytest.mark.parametrize("name", ["samples", "sample_index", "rate", "channels", "codec", "data"])
def test_a_chunk_that_lacks_a_field_is_not_decoded(name: str) -> None:
    whole = encode_json(Audio(b"\0" * 640, 320, 0))
    assert decode_json(whole, Audio).rate == 16_000
    key = f'"{name}":'.encode()
    start = whole.index(key)
    end = whole.index(b",", start) if b"," in whole[start:] else whole.index(b"}", start)
    without = (
        whole[:start] + whole[end + 1 :]
        if whole[end : end + 1] == b","
        else whole[:start].rstrip(b",") + whole[end:]
    )
    with pytest.raises(CodecError, match="field_missing") as caught:
        decode_json(without, Audio)
    assert caught.value.path == name


def test_a_turns_stream_is_ended_once() -> None:
    rig = Rig(voice_template())
    rig.connect()
    for _ in range(2):
        rig.type("hello")
        rig.answer("It is ten.", ms=100)
        rig.advance(1_000)
    ends = [e.event for e in rig.of(fx.Send) if isinstance(e.event.payload, Audio) and e.event.payload.end]
    assert [event.scope.turn_id for event in ends] == ["s1/turn-1", "s1/turn-2"]
