"""Makes recordings for the corpus, once: `python tests/replay/make.py`. Those that are there stay as they are.

A recording in `journals` is made by the version of its day and never again: it is the proof that later versions decide the
same. Another one is added under another name. `--force` is for the time before the first release of a format, and no other.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from rspp.cli.sim_recorder import record
from rspp.contract.event import Text
from rspp.contract.words import RecordingLevel
from rspp.host.steps import Witnessed, each_node
from rspp.kernel.effects import StoreClose, StoreEvidence
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.inputs import CallProduced, EvidenceStored, Input, Woken
from rspp.kernel.session import SessionKernel
from rspp.nodes import factories
from rspp.sim.scenario import draw
from rspp.spec.graph import NodeDefinition
from rspp.timeline.memory import MemoryAppend
from rspp.timeline.ports import Everything, Redactor
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe
from rspp.timeline.redaction.policy import RedactionPolicy
from rspp.timeline.redaction.session import SessionRedactor
from rspp.timeline.regress_rules import BASELINE, RULES
from rspp.timeline.session import SessionRecorder
from rspp.timeline.story import told

JOURNALS: Final = Path(__file__).parent / "journals"
SEED: Final = 11
KEY: Final = bytes(range(32))  # so that the same stand-ins are drawn each time


class Made(NamedTuple):
    """A simulated call, and the signal that it is there for; `again` if its sync nodes are to run in a
    replay, `said` if the caller says this and it is redacted."""

    session: int
    faults: str
    shows: str
    again: bool = False
    said: str = ""
    level: RecordingLevel = RecordingLevel.L1


CALLS: Final[Mapping[str, Made]] = {
    "plain": Made(36, "none", "commit", again=True),
    "interrupted": Made(17, "none", "barge_in", again=True),
    "coughed": Made(132, "none", "playback_resumed", again=True),
    "speculated": Made(144, "none", "turn_superseded", again=True),
    "redacted": Made(
        36, "none", "commit", again=True, said="my card is 4111 1111 1111 1111, mail a@example.org"
    ),
    "keys": Made(17, "all", "digit_pressed"),
    "overloaded": Made(33, "F1", "defer"),
    "snapshot-changed": Made(56, "F1", "defer"),
    "node-failed": Made(27, "F2", "node_failed"),
    "provider-switched": Made(15, "F3", "provider_switch"),
    "cancel-ignored": Made(139, "llm_ignores_cancel,tts_ignores_cancel", "cancel"),
    "edge-pressed": Made(8, "F4", "drop_notice"),
    "frames-lost": Made(28, "F5", "discontinuity"),
    "disconnected": Made(33, "F6", "disconnected"),
    "evidence-lost": Made(48, "evidence_never", "evidence_append_failed"),
    "said-twice": Made(16, "all", "duplicate_dropped"),
    "epoch-forged": Made(28, "forged_audio,forged_text", "stale_epoch_reject"),
    "lease-stale": Made(48, "stale_lease", "stale_epoch_reject"),
    "lease-expired": Made(31, "lease_expires", "deauthorized_drain"),
    "failed-over": Made(6, "F8", "migration_finish"),
    "saved-together": Made(6, "F8", "conversation"),
    "downgraded": Made(28, "recorder_pressed", "recording_level_downgraded", level=RecordingLevel.L2),
}


def recordings(made: Made) -> list[bytes]:
    """The call's recordings, one a kernel; an error if it does not show what it is there for."""
    _, found = record(draw(SEED, made.session, made.faults), made.level)
    if made.again:
        found = [again(assemble([unframe(data)]), made.said) for data in found]
    names = {item.name for data in found for item in assemble([unframe(data)]).items}
    if made.shows not in names:
        raise SystemExit(
            f"session {made.session} with {made.faults} does not show {made.shows}: choose another"
        )
    return found


def again(recording: Recording, said: str) -> bytes:
    """The call recorded as a live one is: what its sync nodes did is only kept where a replay could not do it again."""
    redactor: Redactor = SessionRedactor(RedactionPolicy(), "t", key=KEY) if said else Everything()
    append = MemoryAppend()
    recorder = SessionRecorder(append, redactor, wall_ms=lambda: 0, origin="sim")
    request, graph = recording.head.request, recording.head.graph
    recorder.opened(request, graph)

    def watched(node: NodeDefinition, factory: NodeFactory, config: Mapping[str, object]) -> object:
        return Witnessed(factory(config), node.id, recorder.stepped)

    kernel = SessionKernel(request, graph, each_node(graph, factories(), watched))
    recorder.did(recording.began_at, kernel.drain())
    asked: dict[str, StoreEvidence] = {}
    for at, received in [(at, spoken(one, said)) for at, one in recording.input_list()]:
        recorder.took(at, received)
        if isinstance(received, Woken):
            kernel.wake(at)
        else:
            kernel.receive(at, received)
        effects = kernel.drain()
        recorder.did(at, effects)
        for effect in effects:
            if isinstance(effect, StoreEvidence):
                asked[effect.record_id] = effect
            elif isinstance(effect, StoreClose):
                recorder.closed_turn(effect.record_id, effect.stamp)
        if isinstance(received, EvidenceStored) and received.ok and received.record_id in asked:
            effect = asked.pop(received.record_id)
            recorder.evidence(effect.record_id, effect.evidence)
    recorder.closed()
    return bytes(append.data)


def spoken(received: Input, said: str) -> Input:
    """The input, with these words where a caller's final words are."""
    payload = received.payload if isinstance(received, CallProduced) else None
    if not said or not isinstance(payload, Text) or payload.role != "user" or not payload.final:
        return received
    return msgspec.structs.replace(received, payload=msgspec.structs.replace(payload, text=said))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--force", action="store_true", help="Write over what is there.")
    parser.add_argument("--into", type=Path, default=JOURNALS, help="Another folder.")
    asked = parser.parse_args()
    asked.into.mkdir(parents=True, exist_ok=True)
    for name, made in CALLS.items():
        for number, data in enumerate(recordings(made)):
            path = asked.into / f"{name}{f'-{number}' if number else ''}.rspp"
            if path.exists() and not asked.force:
                sys.stdout.write(f"{path.name} is there and stays\n")
                continue
            path.write_bytes(data)
            sys.stdout.write(f"{path.name}: {len(data)} bytes\n")
    digests(asked.into)


def digests(folder: Path) -> None:
    """Beside the recordings: which digest each of them has, so that nobody changes one unseen."""
    found = {}
    for path in sorted(folder.glob("*.rspp")):
        found[path.name] = told(assemble([unframe(path.read_bytes())])).digest
    (folder / "digests.json").write_bytes(msgspec.json.format(json.dumps(found).encode(), indent=2) + b"\n")
    left = [one for one in (RULES, BASELINE) if (folder / one).exists()]
    if left:
        sys.stdout.write(f"look at {', '.join(left)} too\n")


if __name__ == "__main__":
    main()
