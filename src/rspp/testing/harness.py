"""A node on its own: feed it, let time pass, look at what it gave. Nothing sleeps, and equal runs are equal.

    def test_it_shouts():
        node = NodeHarness(Shout, config={"marks": 2})
        node.text("hello").text(" there", final=True)
        assert node.texts == ["HELLO!!", " THERE!!"]

A sync node runs in the kernel's own `Hosted`, an async one (`async def run(self, call)`) under the host's own call, on a
loop in virtual time. What a node raises comes out of the line that made it raise, with its own traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from inspect import iscoroutinefunction
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self, cast

import msgspec

from rspp.contract.event import NS_PER_MS, Audio, Event, Note, Payload, Sample, Scope, Signal, Text
from rspp.contract.words import CancelMode, CancelReason, EventKind, PayloadClass
from rspp.kernel.hosting import CLASS_OF, KIND_OF, SyncNode
from rspp.spec.catalog import DEFAULT
from rspp.spec.declaration import NodeDeclaration
from rspp.spec.graph import Lifetime, NodeDefinition, Port, Role
from rspp.testing.harness_runs import AsyncRun, Given, NodeFailedError, Run, SyncRun

__all__ = ["NodeFailedError", "NodeHarness"]

GROUP: Final = "rspp.nodes"
FRAME_MS: Final = 20
NO_CONFIG: Final[Mapping[str, object]] = MappingProxyType({})
# For a node that does not declare its ports.
ANY_PORTS: Final = {
    "out": tuple(EventKind),
    "text": (EventKind.TEXT,),
    "audio": (EventKind.AUDIO,),
}


class NodeHarness:
    """One node, its one instance, and everything it gave."""

    def __init__(
        self,
        node: type | Callable[[Any], object] | str,
        *,
        config: Mapping[str, object] = NO_CONFIG,
        as_type: str | None = None,
        outputs: Mapping[str, Sequence[EventKind]] | None = None,
        lifetime: Lifetime | None = None,
        budget_ms: int = 100,
        timeout_ms: float = 1_000,
        seed: int = 1,
    ) -> None:
        """`node` is a class, a factory, "module:Class", or the name under which a package offers a node. Its ports are
        those of its declaration, of the built-in type it is tried `as_type`, or `outputs`.
        """
        made = _resolved(node) if isinstance(node, str) else node
        declaration = getattr(made, "declaration", None)
        declared = declaration if isinstance(declaration, NodeDeclaration) else None
        instance = made(_settings(declared, config))
        self.turn = 1
        self._sequence = 0
        self._samples: dict[str, int] = {}
        definition = _definition(declared, as_type, outputs, config, lifetime)
        self._run: Run
        if iscoroutinefunction(getattr(instance, "run", None)):
            self._run = AsyncRun(definition, instance, self.scope, timeout_ms)
        else:
            self._run = SyncRun(definition, cast(SyncNode, instance), self.scope, budget_ms, seed)

    # ---- feeding -------------------------------------------------------------------------------------------------

    def text(
        self, text: str, *, final: bool = False, role: str = "user", port: str = "text", **fields: Any
    ) -> Self:
        """Give it a text."""
        return self.event(Text(text, final=final, role=role, **fields), port)

    def audio(self, sound: int | bytes, *, rate: int = 16_000, port: str = "audio") -> Self:
        """Give it PCM16, or so many milliseconds of silence, in frames of 20 ms; their time passes."""
        frame = rate * FRAME_MS // 1000
        data = bytes(2 * (rate * sound // 1000)) if isinstance(sound, int) else sound
        for at in range(0, len(data), 2 * frame):
            piece = data[at : at + 2 * frame]
            start = self._samples.get(port, 0)
            self._samples[port] = start + len(piece) // 2
            self.event(Audio(piece, len(piece) // 2, start, rate), port)
            self.advance(FRAME_MS)
        return self

    def digits(self, digits: str, *, port: str = "control") -> Self:
        """Key these digits."""
        for digit in digits:
            self.event(Signal("digit_pressed", "RK-02", detail={"digit": digit}), port)
        return self

    def event(self, payload: Payload, port: str = "in") -> Self:
        """Give it any payload, or a hostile one."""
        self._sequence += 1
        kind = KIND_OF.get(type(payload), EventKind.CONTROL)
        tags = CLASS_OF.get(type(payload), PayloadClass.METADATA)
        self._run.feed(Event(self.scope, kind, self._sequence, self._run.now, payload, tags), port)
        return self

    # ---- time, turns and cancels ---------------------------------------------------------------------------------

    @property
    def now_ms(self) -> float:
        return self._run.now / NS_PER_MS

    def advance(self, ms: float) -> Self:
        """Let time pass. An async node that gives nothing for its whole timeout fails as it would in a host."""
        self._run.advance(ms)
        return self

    def new_turn(self) -> Self:
        """The turn ends well and the next begins; what is random begins anew."""
        self.turn += 1
        self._run.new_turn(self.scope)
        return self

    def cancel(
        self, reason: CancelReason = CancelReason.USER_CANCEL, mode: CancelMode = CancelMode.HARD
    ) -> Self:
        """The turn is cancelled; an async node has the grace of 75 ms to stop, and none of it when the mode is hard."""
        self._run.cancel(reason, mode)
        return self

    def barge_in(self) -> Self:
        """The caller takes the floor."""
        self._run.barge_in()
        return self.cancel(CancelReason.BARGE_IN)

    def time_out(self) -> Self:
        """The turn is cancelled because something took too long."""
        return self.cancel(CancelReason.TIMEOUT)

    def exhaust_budget(self, outcome: str = "degrade") -> Self:
        """The node is told that its budget is spent, and what follows from it."""
        self._run.budget_exhausted(outcome)
        return self

    def end(self) -> Self:
        """No more input: an async node's last `EndOfFeed`, a sync node's `on_stop`."""
        self._run.end()
        return self

    def finalise(self) -> Self:
        """No more input for now: an async node that lasts is asked for what it still owes."""
        self._run.finalise()
        return self

    # ---- looking -------------------------------------------------------------------------------------------------

    @property
    def scope(self) -> Scope:
        return Scope(
            session_id="harness",
            tenant_id="harness",
            pipeline_version="v1",
            epoch=1,
            turn_id=f"turn-{self.turn}",
        )

    @property
    def given(self) -> list[Given]:
        """Everything it gave, with port and time."""
        return self._run.given

    def outputs(self, port: str | None = None) -> list[Payload]:
        """What it gave, all or of one port; metrics and notes are not among it."""
        return [
            one.payload
            for one in self.given
            if port == one.port or (port is None and not isinstance(one.payload, (Sample, Note)))
        ]

    @property
    def texts(self) -> list[str]:
        return [payload.text for payload in self.outputs() if isinstance(payload, Text)]

    @property
    def audio_ms(self) -> float:
        """How much sound it gave."""
        return sum(a.samples * 1000 / a.rate for a in self.outputs() if isinstance(a, Audio))

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of each metric."""
        return {one.payload.name: one.payload.value for one in self.given if isinstance(one.payload, Sample)}

    @property
    def notes(self) -> list[str]:
        return [one.payload.message for one in self.given if isinstance(one.payload, Note)]

    @property
    def running(self) -> bool:
        """Is a call of an async node in progress? A sync node's step is over when `feed` returns."""
        return self._run.running

    @property
    def slowest_ms(self) -> float:
        """The longest that it kept the thread, in real time: of a sync node, its slowest step."""
        return self._run.slowest_ms

    def expect(self, *texts: str) -> Self:
        """It gave exactly these texts since the last time it was asked; a difference is shown line by line."""
        found = self.texts
        if found != list(texts):
            raise AssertionError(_difference(list(texts), found, self.given))
        return self.forget()

    def forget(self) -> Self:
        """Look only at what comes from here on."""
        self.given.clear()
        return self

    def close(self) -> None:
        """Stop the node and let go of its loop; a harness used as a context manager does it by itself."""
        self._run.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()


def _resolved(name: str) -> Any:
    """The class that a string names."""
    if ":" in name:
        module, _, path = name.partition(":")
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        return found
    points = entry_points(group=GROUP)
    for point in points:
        if point.name == name:
            return point.load()
    known = ", ".join(sorted(point.name for point in points)) or "none"
    raise LookupError(
        f"no package offers a node {name!r} under {GROUP!r} (there are: {known}); or name it module:Class"
    )


def _settings(declared: NodeDeclaration | None, config: Mapping[str, object]) -> object:
    """The settings as the node gets them from a spec."""
    return dict(config) if declared is None else msgspec.convert(dict(config), declared.config)


def _definition(
    declared: NodeDeclaration | None,
    as_type: str | None,
    outputs: Mapping[str, Sequence[EventKind]] | None,
    config: Mapping[str, object],
    lifetime: Lifetime | None,
) -> NodeDefinition:
    ports: Mapping[str, Sequence[EventKind]] = ANY_PORTS
    if outputs is not None:
        ports = outputs
    elif as_type is not None:
        ports = {port.name: port.kinds for port in DEFAULT.types[as_type].outputs}
    elif declared is not None:
        ports = declared.outputs
    return NodeDefinition(
        id="node",
        type=as_type or (declared.name if declared else "custom"),
        version=declared.version if declared else "v1",
        role=Role.SYNC,
        scope="turn",
        outputs=tuple(Port(name=name, kinds=tuple(kinds)) for name, kinds in ports.items()),
        config=dict(config),
        lifetime=lifetime or (declared.lifetime if declared else Lifetime.EVENT),
    )


def _difference(expected: list[str], found: list[str], given: list[Given]) -> str:
    lines = ["the node's texts are not what was expected:"]
    for index in range(max(len(expected), len(found))):
        want = repr(expected[index]) if index < len(expected) else "nothing"
        got = repr(found[index]) if index < len(found) else "nothing"
        lines.append(f"  {index}: {'  ' if want == got else '!='} expected {want}, got {got}")
    lines.append("all it gave:")
    lines += [f"  {one.at // NS_PER_MS} ms on {one.port or '-'!r}: {one.payload}"[:200] for one in given]
    return "\n".join(lines)
