"""The live replay of `rspp replay`: providers as they are installed here, a loop in real time, and the diff of what came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from rspp.adapters.transports.loopback import LoopClock
from rspp.cli.compose import installed, pipeline_of, registry_of
from rspp.cli.output import write_bytes
from rspp.cli.replay_nodes import nodes_for
from rspp.cli.replay_pipeline import bound
from rspp.cli.replay_run import Replayed, base_facts, compared
from rspp.cli.run_call import new_loop
from rspp.host.registry import Registry
from rspp.spec import Layer, Severity
from rspp.spec.graph import GraphDefinition, Role
from rspp.timeline.recording import Recording
from rspp.timeline.replay.integrity import Problem
from rspp.timeline.replay.live import Lived, LiveReplay
from rspp.timeline.replay.modes import Mode, agree
from rspp.timeline.replay.recorded_calls import modality_of


def replay_live(
    recording: Recording,
    mode: Mode,
    problems: list[Problem],
    *,
    pipeline: Path | None,
    providers: Mapping[str, str],
    live: tuple[str, ...] | None,
    layers: tuple[Layer, ...] = (),
    tolerance_ms: float,
    pace: float,
    out: Path | None,
    began_cpu: float,
    node_places: tuple[str, ...] = (),
) -> Replayed:
    """Have the call again, and hold it against what was recorded."""
    graph, registry = _served(recording, pipeline, layers, node_places)
    graph = bound(graph, providers)
    here = {modality_of(node) for node in graph.nodes if node.role is Role.CALL} | {
        node.id for node in graph.nodes
    }
    for one in live or ():
        if one not in here:
            raise click.UsageError(
                f"--live {one}: the pipeline has no node for that; it has {', '.join(sorted(here))}"
            )

    async def call() -> Lived:
        clock = LoopClock(asyncio.get_running_loop())
        return await LiveReplay(recording, graph, registry, mode, clock, live=live).run()

    with asyncio.Runner(loop_factory=lambda: new_loop(pace)) as runner:
        lived = runner.run(call())
    not_ready = [one for one in lived.readiness if not one.ready]
    if not_ready:
        click.echo(f"not ready: {', '.join(f'{one.name}: {one.failure}' for one in not_ready)}", err=True)
    if out is not None:
        write_bytes(out, lived.data)
    agree(mode, lived.story.mode, lived.story.decisions)
    facts = base_facts(recording, mode, problems)
    facts |= {
        "pipeline": graph.ref,
        "steps": lived.story.through,
        "provider_calls": lived.called,
        "played": lived.played,
        "end_reason": lived.end_reason,
        "stopped": "end",
    }
    replayed = Replayed(facts=facts, story=lived.story, problems=problems)
    compared(
        recording, replayed, nodes_for(recording.head.graph, node_places), tolerance_ms, same_clock=False
    )
    facts["cpu_seconds"] = time.process_time() - began_cpu
    return replayed


def _served(
    recording: Recording, pipeline: Path | None, layers: tuple[Layer, ...], node_places: tuple[str, ...]
) -> tuple[GraphDefinition, Registry]:
    """The recorded pipeline or another one, and who can serve it here."""
    here = installed()
    if pipeline is None:
        graph = recording.head.graph
        return graph, msgspec.structs.replace(registry_of(here), nodes=nodes_for(graph, node_places))
    made = pipeline_of(pipeline, here, layers, unstated_level=recording.head.level)
    if made.graph is None or made.registry is None:
        errors = [str(one) for one in made.problems if one.severity is Severity.ERROR]
        raise click.ClickException("\n".join(errors) or f"{pipeline} does not compile")
    return made.graph, made.registry
