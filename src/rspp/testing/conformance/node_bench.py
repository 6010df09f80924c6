"""What the checks of a sync node stand on: the node, a script that it is to answer, and what it gave, letter by letter."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.contract.event import Audio, Fault, Note, Payload, Sample, Signal, Text
from rspp.contract.signals import SignalName
from rspp.contract.words import EventKind
from rspp.spec.catalog import DEFAULT
from rspp.spec.declaration import NodeDeclaration
from rspp.testing.conformance.trial import hum, hush
from rspp.testing.harness import NodeHarness

# So much virtual time passes between two events.
STEP_MS: Final = 20
SAID: Final = "Good morning, AB12 is ready. Please come to gate 7 at 10:45, or call 0123. Thank you!"
DIGITS: Final = "4711#"


class Feed(msgspec.Struct, frozen=True):
    """One event: on which port, and what."""

    port: str
    payload: Payload


class NodeTarget(msgspec.Struct, kw_only=True):
    """A sync node's class or factory, its settings, and how patient to be.

    `as_type`: it is tried as this built-in type, whose ports are its own. `script` is one turn's events; without one it is
    given what fits its inputs. `elsewhere` plays the script in another process, under another hash seed, and tells `digest_of`
    what came of it.
    """

    node: Callable[[Any], object]
    config: Mapping[str, object] = {}
    as_type: str | None = None
    script: Sequence[Feed] = ()
    seed: int = 1
    # The step is everybody's: a call of a hook may keep it for no longer, on a machine that is busy.
    hook_ms_max: float = 20
    kept_bytes_max: int = 8_192
    elsewhere: Callable[[], Awaitable[str]] | None = None

    @property
    def declaration(self) -> NodeDeclaration | None:
        found = getattr(self.node, "declaration", None)
        return found if isinstance(found, NodeDeclaration) else None

    @property
    def inputs(self) -> Mapping[str, Sequence[EventKind]]:
        if self.as_type is not None:
            kind = DEFAULT.types[self.as_type]
            # What takes any wire is given one of each kind.
            return (
                {"in": tuple(EventKind)}
                if kind.open_inputs
                else {port.name: port.kinds for port in kind.inputs}
            )
        if self.declaration is None:
            raise MisuseError(
                "node_declaration_invalid",
                "the node says nothing of its ports: give its class a `declaration`, an rspp.NodeDeclaration",
            )
        return self.declaration.inputs

    def turn(self) -> Sequence[Feed]:
        """One turn's events."""
        return self.script or usual(self.inputs)

    def harness(self) -> NodeHarness:
        return NodeHarness(self.node, config=self.config, as_type=self.as_type, seed=self.seed)


def usual(inputs: Mapping[str, Sequence[EventKind]], said: str = SAID, digits: str = DIGITS) -> list[Feed]:
    """What fits any node with these inputs: text as it streams, sound and silence, keys, one of each other kind."""
    script: list[Feed] = []
    for port, kinds in inputs.items():
        for kind in kinds:
            script += [Feed(port, payload) for payload in _of_kind(kind, said, digits)]
    return script


def _of_kind(kind: EventKind, said: str, digits: str) -> Sequence[Payload]:
    if kind is EventKind.TEXT:
        return _streamed(said)
    if kind is EventKind.AUDIO:
        sound = hum(100)
        return (*sound, *hush(100, after=sound))
    if kind is EventKind.CONTROL:
        return [pressed(digit) for digit in digits]
    others: Mapping[EventKind, Payload] = {
        EventKind.METRICS: Sample("conformance_ms", 12.5, "ms"),
        EventKind.DEBUG: Note("a remark"),
        EventKind.ERROR: Fault("provider_timeout", "it took too long", retryable=True),
    }
    return (others[kind],)


def _streamed(said: str) -> Sequence[Text]:
    """A segment that comes in words, as a writer sends it, and the same as one final."""
    words = said.split(" ")
    pieces = [word if last else f"{word} " for word, last in zip(words, _lasts(words), strict=True)]
    streamed = [
        Text(piece, segment=number, final=number == len(pieces) - 1, role="assistant")
        for number, piece in enumerate(pieces)
    ]
    return (*streamed, Text(said, segment=len(pieces), final=True, role="user"))


def _lasts(words: Sequence[str]) -> list[bool]:
    return [number == len(words) - 1 for number in range(len(words))]


def pressed(digit: str) -> Signal:
    """A key of the telephone."""
    return Signal(SignalName.DIGIT_PRESSED.value, "RK-02", detail={"digit": digit})


def play(harness: NodeHarness, script: Sequence[Feed]) -> None:
    """One turn's events, each in its time."""
    for feed in script:
        harness.event(feed.payload, feed.port).advance(STEP_MS)


def given(harness: NodeHarness) -> list[bytes]:
    """All it gave, each with port and time, so that two can be compared letter by letter."""
    return [msgspec.json.encode(one) for one in harness.given]


def two_turns(target: NodeTarget) -> list[bytes]:
    """What the node makes of the script, and of the same in the next turn."""
    with target.harness() as harness:
        play(harness, target.turn())
        harness.new_turn()
        play(harness, target.turn())
        return given(harness)


def digest_of(trace: Sequence[bytes]) -> str:
    """One word for all of it."""
    return hashlib.sha256(b"\n".join(trace)).hexdigest()


def heard_in(harness: NodeHarness, words: str) -> bool:
    """Are these words in anything that it gave?"""
    return any(words in text for text in _texts(harness))


def _texts(harness: NodeHarness) -> list[str]:
    return [payload.text for payload in harness.outputs() if isinstance(payload, Text)]


def unsound(payload: object) -> Sequence[str]:
    """What is wrong with a payload on its own; audio must be whole, text a text."""
    if isinstance(payload, Audio):
        whole = len(payload.data) == 2 * payload.samples * payload.channels
        return (
            ()
            if whole
            else (f"audio of {len(payload.data)} bytes says that it has {payload.samples} samples",)
        )
    if isinstance(payload, Text):
        kind = type(payload.text).__name__
        return () if kind == "str" else (f"a text that is a {kind}",)
    return ()
