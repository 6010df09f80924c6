"""A node as a target: a class with a declaration, a built-in type, or a factory of `NodeTarget`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.conformance import trials
from rspp.cli.conformance.making import Tried, UnfitError, first
from rspp.cli.conformance.messages import Played, Request
from rspp.cli.conformance.ports import Port
from rspp.cli.conformance.targets import Loaded, built_in_nodes, call, wrong
from rspp.contract.event import Payload, Text
from rspp.contract.words import EventKind
from rspp.nodes import factories
from rspp.spec.declaration import NodeDeclaration, NodeKind
from rspp.spec.graph import Lifetime
from rspp.testing.conformance import async_node
from rspp.testing.conformance import node as suite
from rspp.testing.conformance.checks import CheckFailedError
from rspp.testing.conformance.node import NodeTarget
from rspp.testing.conformance.node_bench import SAID, digest_of, two_turns, usual
from rspp.testing.conformance.trial import Trial
from rspp.testing.conformance.trial import usual as usual_trial

# Another hash seed than the one under which the suite runs.
OTHER_SEED: Final = 7_919
ELSEWHERE_S_MAX: Final = 20.0
SENTENCES: Final = tuple(Text(f"This is sentence number {n}. ", segment=n, role="user") for n in range(8))


def a_node(port: Port, loaded: Loaded, request: Request) -> Tried:
    kind = _kind(loaded.value)
    if port.name == "async_node":
        return _an_async(port, loaded, request)
    if kind == NodeKind.ASYNC:
        raise wrong(
            port, f"{loaded.reference} is an async node: `rspp conformance async_node {request.target}`."
        )
    target = _target(port, loaded, request)

    def make() -> NodeTarget:
        return msgspec.structs.replace(target, elsewhere=_elsewhere(request))

    _fits(loaded.value, "on_event")
    first(lambda: target.harness().close())
    return Tried(
        port=port.name,
        checks=suite.conformance(make),
        reference=loaded.reference,
        made=(target.node,),
        patience=target,
    )


def _kind(value: object) -> str | None:
    declaration = getattr(value, "declaration", None)
    return declaration.kind if isinstance(declaration, NodeDeclaration) else None


def _fits(value: object, hook: str) -> None:
    if isinstance(value, type) and not callable(getattr(value, hook, None)):
        raise UnfitError(f"the class {value.__name__} has no `{hook}`")


def _target(port: Port, loaded: Loaded, request: Request) -> NodeTarget:
    """The node with its settings and its script."""
    said = trials.checked(request.trial, request.limits)
    value: Any = loaded.value
    if isinstance(value, str):
        assert value in built_in_nodes()
        made = NodeTarget(node=factories()[value], config=request.settings, as_type=value)
    elif isinstance(value, type):
        if not isinstance(getattr(value, "declaration", None), NodeDeclaration):
            raise wrong(port, f"the class {value.__name__} has no `declaration`, an rspp.NodeDeclaration.")
        made = NodeTarget(node=value, config=request.settings)
    else:
        made = first(lambda: call(port, value))
        if not isinstance(made, NodeTarget):
            raise wrong(
                port, f"it gives a {type(made).__name__}, no NodeTarget; or name the node's class itself."
            )
    if said.said or said.digits:
        script = usual(made.inputs, said.said or SAID, said.digits or "4711#")
        made = trials.replaced(made, script=script)
    return trials.limited(trials.replaced(made, seed=request.seed), request.limits)


def _elsewhere(request: Request) -> Callable[[], Awaitable[str]]:
    async def play() -> str:
        import asyncio  # noqa: PLC0415

        from rspp.cli.conformance.runner import trace  # noqa: PLC0415 - the runner starts the process that runs this

        other = msgspec.structs.replace(
            request, purpose="trace", seed=request.seed, scratch=str(Path(request.scratch) / "elsewhere")
        )
        answer = await asyncio.to_thread(trace, other, OTHER_SEED, ELSEWHERE_S_MAX)
        if isinstance(answer, Played):
            return answer.digest
        raise CheckFailedError(f"in another process it could not be played: {answer}")

    return play


def played(request: Request, port: Port, loaded: Loaded) -> str:
    """What the node makes of its script in this process."""
    return digest_of(two_turns(_target(port, loaded, request)))


# ---- async ----------------------------------------------------------------------------------------------------------


def _an_async(port: Port, loaded: Loaded, request: Request) -> Tried:
    value: Any = loaded.value
    declaration = getattr(value, "declaration", None)
    if not isinstance(value, type) or not isinstance(declaration, NodeDeclaration):
        raise wrong(port, f"{loaded.reference} is no class with a `declaration`.")
    if declaration.kind != NodeKind.ASYNC:
        raise wrong(port, f"{loaded.reference} is a sync node: `rspp conformance node {request.target}`.")
    _fits(value, "run")

    def make() -> Any:
        return value(msgspec.convert(dict(request.settings), declaration.config))

    first(make)
    trial = _trial(declaration, request)
    return Tried(
        port=port.name,
        checks=async_node.conformance(make, trial),
        reference=loaded.reference,
        made=(value,),
        options=("fed",) if trial.fed else (),
        patience=trial,
    )


def _trial(declaration: NodeDeclaration, request: Request) -> Trial:
    """What fits what it takes: a question, or for one that lives as long as the session something to be fed with."""
    said = trials.checked(request.trial, request.limits)
    trial = trials.trial_of("external", said)
    fed = said.fed or declaration.lifetime == Lifetime.SESSION
    kinds = {kind for port in declaration.inputs.values() for kind in port}
    if fed:
        trial = trials.replaced(trial, fed=True, **_feed(kinds, trial))
    elif EventKind.TEXT not in kinds and EventKind.AUDIO in kinds:
        trial = trials.replaced(trial, said=usual_trial("vad").speech[0])
    ports = trial.ports or tuple(declaration.outputs)
    return trials.limited(trials.replaced(trial, ports=ports), request.limits)


def _feed(kinds: set[EventKind], trial: Trial) -> Mapping[str, tuple[Payload, ...]]:
    if EventKind.AUDIO in kinds:
        sound = usual_trial("vad")
        return {"speech": trial.speech or sound.speech, "silence": trial.silence or sound.silence}
    return {"speech": SENTENCES, "silence": (Text("", segment=len(SENTENCES), final=True, role="user"),)}
