"""What was recorded once is decided the same today, recording by recording, and no answer has become slower.

The corpora are the folders with recordings (a checkout keeps its own in `tests/replay/journals`), each held to its
`regress.yaml`. `quick` looks at what those rules put into the quick gate, and at all where they put nothing there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.regress import told
from rspp.cli.verify.engine import Engine, Found, Ground, Outcome
from rspp.cli.verify.ground import corpora, is_checkout
from rspp.contract.errors import RsppError
from rspp.kernel.hosting import NodeFactory
from rspp.spec.graph import GraphDefinition
from rspp.timeline.recording import assemble
from rspp.timeline.records import unframe
from rspp.timeline.regress import Checked, Finding, Job, corpus, judged, run
from rspp.timeline.regress import Outcome as Regressed
from rspp.timeline.regress_rules import Gate, Rules, baseline_in, rules_in
from rspp.timeline.replay import installed

OWN: Final = "tests/replay/journals"
CORPUS: Final = "corpus"  # the option
DIGESTS: Final = "digests.json"  # recording -> digest of what its kernel did
PROCESSES: Final = 2
# Of one recording, so many failures are told; a call that has gone another way differs in all that follows.
EACH_MAX: Final = 3


def run_engine(ground: Ground) -> Outcome:
    """Every corpus, whole or in its quick part."""
    found: list[Found] = []
    facts: dict[str, Any] = {}
    looked = failed = 0
    for folder in homes(ground):
        name = _name(ground, folder)
        ground.say(name)
        try:
            gate, outcome = _again(ground, folder)
        except RsppError as error:
            found.append(Found(what=str(error), fix="mend the corpus' rules", where=name))
            continue
        looked += len(outcome.recordings)
        failed += sum(not one.ok for one in outcome.recordings)
        facts[name] = {
            "gate": gate.value,
            "recordings": len(outcome.recordings),
            "latency": outcome.latency,
            "digests": {one.name: one.digest_replayed for one in outcome.recordings},
        }
        found += findings(name, outcome)
        found += not_as_kept(name, folder, outcome, whole=gate is Gate.BOTH)
    summary = f"{looked} recordings done again, {failed} of them otherwise than they were"
    if not homes(ground):
        found.append(
            Found(what="there is no corpus of recordings", fix="name one with --corpus DIR", where=OWN)
        )
    return Outcome(verdict="fail" if found else "pass", summary=summary, found=tuple(found), facts=facts)


def homes(ground: Ground) -> tuple[Path, ...]:
    """The corpora: the one that was named, a checkout's own, or every folder with recordings."""
    named = ground.options.get(CORPUS)
    if named:
        return (Path(str(named)),)
    if is_checkout(ground.folder):
        own = ground.folder / OWN
        return (own,) if own.is_dir() else ()
    return corpora(ground.folder)


def gate_of(rules: Rules, *, quick: bool) -> Gate:
    """The quick gate where somebody put a recording into it."""
    marked = any(one.gate is not Gate.FULL for one in rules.recordings.values())
    return Gate.QUICK if quick and marked else Gate.BOTH


def _again(ground: Ground, folder: Path) -> tuple[Gate, Regressed]:
    rules, baseline = rules_in(folder), baseline_in(folder)
    # One that was measured under another pipeline says nothing about the recordings' own.
    baseline = baseline if baseline is not None and baseline.pipeline is None else None
    gate = gate_of(rules, quick=ground.level == "quick")
    job = Job(folder, rules, partial(_nodes, places=(str(ground.folder),)))
    checked: list[Checked] = list(run(job, corpus(folder, rules, gate), jobs=PROCESSES))
    return gate, judged(checked, rules, baseline, whole_corpus=gate is Gate.BOTH)


def _nodes(graph: GraphDefinition, places: tuple[str, ...]) -> Mapping[str, NodeFactory]:
    """RSPP's own nodes, those that are installed, and those of modules in the project."""
    return installed.nodes_for(graph, places)


def findings(name: str, outcome: Regressed) -> Iterator[Found]:
    """Each failure with the line of the call in which it shows."""
    for one in outcome.recordings:
        for finding in one.failures[:EACH_MAX]:
            yield _found(f"{name}/{one.name}", finding)
        if len(one.failures) > EACH_MAX:
            yield Found(
                what=f"{len(one.failures) - EACH_MAX} failures more",
                fix=f"rspp regress {name} --json",
                where=f"{name}/{one.name}",
            )
    for finding in outcome.failures:
        yield _found(name, finding)


def not_as_kept(name: str, folder: Path, outcome: Regressed, *, whole: bool) -> Iterator[Found]:
    """A corpus proves what it did when it was kept: no end is missing, and where it says its digests, they are these."""
    for one in outcome.recordings:
        if one.sha256 and assemble([unframe((folder / one.name).read_bytes())]).torn:
            yield Found(
                what="its end is missing: a call that was cut proves less than it did",
                fix="take the recording as it was kept, or record it anew",
                where=f"{name}/{one.name}",
            )
    path = folder / DIGESTS
    if not path.is_file():
        return
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        yield Found(
            what=f"it cannot be read: {error}", fix="take it as it was kept", where=f"{name}/{DIGESTS}"
        )
        return
    there = {one.name: one.digest_recorded for one in outcome.recordings}
    for recording in sorted(kept.keys() | there.keys()) if whole else sorted(there):
        if recording not in there or recording not in kept:
            what = (
                "the digests name it, and it is gone" if recording in kept else "the digests do not know it"
            )
        elif kept[recording] != there[recording]:
            what = "it is not the recording that was kept: its digest is another"
        else:
            continue
        yield Found(
            what=what,
            fix=f"take the recording as it was kept; a new one is written into {DIGESTS}",
            where=f"{name}/{recording}",
        )


def _found(where: str, finding: Finding) -> Found:
    if finding.kind == "UNREADABLE":
        fix = "take the recording as it was kept, or record it anew"
    elif finding.kind == "EMPTY":
        fix = "put recordings there: rspp record, rspp export"
    elif finding.kind in ("LATENCY", "BASELINE"):
        fix = "take the change back; if it is meant: rspp regress FOLDER --update"
    else:
        fix = "take the change back; if it is meant, keep the old way behind a flag for old recordings, and approve it in regress.yaml"
    return Found(what=told(finding), fix=fix, where=where)


def _name(ground: Ground, folder: Path) -> str:
    """Relative to what is verified; the last part of a folder elsewhere."""
    inside = folder.resolve()
    whole = ground.folder.resolve()
    return inside.relative_to(whole).as_posix() if inside.is_relative_to(whole) else folder.name


ENGINE: Final = Engine(
    key="KEY:ENG.REPLAY",
    name="replay",
    summary="every corpus of recordings, done again by this code: what diverges, and what has become slower",
    levels=frozenset({"quick", "full"}),
    fail_code="replay_diverged",
    run=run_engine,
    applies=lambda ground: is_checkout(ground.folder) or bool(homes(ground)),
)
