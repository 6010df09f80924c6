"""What a version must withstand before it is published: lint, compilation, its corpus, and the seven gates."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from rspp.cli.gates import recordings
from rspp.cli.lint import problems_of
from rspp.cli.problems import text_of
from rspp.cli.recordings import Where
from rspp.cli.regress import document, graphs_of, told
from rspp.cli.release.ground import Ground, Outcome, failing, passing
from rspp.cli.release.reports import as_json
from rspp.cli.replay_nodes import nodes_for
from rspp.cli.validate import resolved_rows
from rspp.cli.verify.engine import Found
from rspp.contract.codec import CodecError
from rspp.control.config.registry import compiled as as_published
from rspp.nodes import factories
from rspp.spec import Problem, Severity
from rspp.timeline.gates.judge import Judge
from rspp.timeline.gates.report import CONTRACT, GateReport, unfit
from rspp.timeline.regress import Job, corpus, judged, run
from rspp.timeline.regress import Outcome as Regressed
from rspp.timeline.regress_rules import Gate, baseline_in, rules_in

# From so many recordings on it is worth starting processes for them.
RECORDINGS_SPREAD_MIN: Final = 8
FOUND_MAX: Final = 50


def lint(at: Ground) -> Outcome:
    """Every fault of the spec; a warning counts, unless the release was begun as a relaxed one."""
    problems = problems_of(Path(at.settings.spec))
    errors = [one for one in problems if one.severity is Severity.ERROR]
    counted = problems if at.settings.strict else tuple(errors)
    facts = {"errors": len(errors), "warnings": len(problems) - len(errors), "strict": at.settings.strict}
    summary = f"{len(errors)} errors, {len(problems) - len(errors)} warnings"
    if counted:
        return failing("lint_failed", summary, _of_problems(counted), facts=facts)
    return passing(summary, found=_of_problems(problems), facts=facts)


def _of_problems(problems: tuple[Problem, ...]) -> tuple[Found, ...]:
    return tuple(
        Found(
            what=f"{one.code}: {one.message}",
            fix=one.hint or "Mend it.",
            where=f"{Path(one.file).name}:{one.line}",
        )
        for one in problems[:FOUND_MAX]
    )


def compile_(at: Ground) -> Outcome:
    """The spec as the registry would compile it: with the nodes that are installed, and none from beside the file."""
    path = Path(at.settings.spec)
    loaded = as_published(text_of(path), path.name)
    if loaded.graph is None:
        return failing("compile_failed", "it does not compile", _of_problems(loaded.errors))
    resolved = {
        "pipeline": loaded.graph.pipeline,
        "version": loaded.graph.version,
        "fingerprint": loaded.graph.fingerprint,
        "settings": resolved_rows(loaded),
    }
    return passing(
        f"compiles; fingerprint {loaded.graph.fingerprint}",
        facts={"fingerprint": loaded.graph.fingerprint, "nodes": len(loaded.graph.nodes)},
        outputs={"RESOLVED_SPEC": at.put("resolved.json", as_json(resolved))},
    )


def replay(at: Ground) -> Outcome:
    """Every recording of the corpus, done again under the new version."""
    folder, spec = Path(at.settings.corpus), Path(at.settings.spec)
    rules, baseline = rules_in(folder), baseline_in(folder)
    graphs, extra = graphs_of(spec)
    named = next(iter(graphs.values())).fingerprint if graphs else None
    if baseline is not None and baseline.pipeline != named:
        baseline = None  # made of another version: latencies are held to the recordings' own
    job = Job(folder, rules, partial(nodes_for, places=at.settings.nodes), graphs, extra)
    paths = corpus(folder, rules, Gate.BOTH)
    spread = not extra and len(paths) >= RECORDINGS_SPREAD_MIN
    checked = []
    for one in run(job, paths, jobs=(os.cpu_count() or 1) if spread else 1):
        checked.append(one)
        at.say(f"replay {len(checked)}/{len(paths)}: {one.name}{'' if one.ok else ' FAILS'}")
    outcome = judged(checked, rules, baseline)
    bad = sum(not one.ok for one in outcome.recordings)
    summary = (
        f"{len(outcome.recordings)} recordings, {bad} fail"
        if outcome.recordings
        else "no recording to look at"
    )
    outputs = {"REPLAY_OUTCOME": at.put("replay-outcome.json", as_json(document(outcome)))}
    facts = {"recordings": len(outcome.recordings), "fail": bad, "corpus_digest": digest_of(folder)}
    if not outcome.ok:
        return failing("replay_failed", summary, _of_findings(outcome), facts=facts, outputs=outputs)
    return passing(summary, facts=facts, outputs=outputs)


def _of_findings(outcome: Regressed) -> tuple[Found, ...]:
    found = [(one.name, finding) for one in outcome.recordings for finding in one.failures]
    found += [("corpus", finding) for finding in outcome.failures]
    fix = "Mend the pipeline, or expect it in regress.yaml with a reason."
    return tuple(Found(what=told(finding), fix=fix, where=name) for name, finding in found[:FOUND_MAX])


def digest_of(folder: Path) -> str:
    """Of every file of the corpus, by name and content."""
    whole = hashlib.sha256()
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        whole.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def gates(at: Ground) -> Outcome:
    """The seven gates of the recordings, or of a report that `rspp gates` has written: fit for a release now."""
    made = _stored(Path(at.settings.gates)) if at.settings.gates else _judged(at)
    if isinstance(made, Outcome):
        return made
    outputs = {"GATE_REPORT": at.put("gate-report.json", as_json(made))}
    names = sorted({one.pipeline.removeprefix("graph/") for one in made.subjects})
    problems = [*unfit(made, at.wall_ms()), *_of_others(names, at)]
    facts = {"digest": made.digest, "recordings": len(made.subjects), "pipelines": names}
    if problems:
        found = [Found(what=one, fix=_mended(one, at)) for one in problems]
        code = "unfit" if at.settings.gates else "gates_failed"
        return failing(code, f"unfit for a release: {problems[0]}", found, facts=facts, outputs=outputs)
    return passing(f"all gates passed, of {len(made.subjects)} recordings", facts=facts, outputs=outputs)


def _of_others(names: list[str], at: Ground) -> list[str]:
    """What the gates say of another pipeline they do not say of this one. Of which version it was is no matter: ours is new."""
    others = [one for one in names if one.partition("@")[0] != at.settings.pipeline]
    if not others or at.settings.any_gates:
        return []
    named = ", ".join(others[:FOUND_MAX])
    return [
        f"recordings of {named}, not of {at.settings.pipeline}, were judged; --any-gates takes them for it"
    ]


def _mended(problem: str, at: Ground) -> str:
    if "--any-gates" in problem:
        return f"Judge calls of {at.settings.pipeline}: `rspp release run` with others, or with --any-gates."
    return "See `rspp gates` for the violations."


def _stored(path: Path) -> GateReport | Outcome:
    try:
        return msgspec.json.decode(path.read_bytes(), type=GateReport)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        why = f"{path.name} is no report of `rspp gates`"
        return failing("unfit", why, [Found(what=str(error), fix="Make one with `rspp gates ... --out`.")])


def _judged(at: Ground) -> GateReport | Outcome:
    judge = Judge(CONTRACT, replays=factories())
    where = Where(data=at.folder.parents[2])  # DATA, as it was said to `run`
    for count, recording in enumerate(recordings(at.settings.recordings, where), 1):
        try:
            judge.take(recording)
        except CodecError as error:
            why = f"{recording.session_id} cannot be judged"
            return failing(
                "gates_failed", why, [Found(what=str(error), fix="Take it out, or record it again.")]
            )
        at.say(f"gates: recording {count}")
    return judge.report(at.wall_ms())
