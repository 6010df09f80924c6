"""A snapshot as it is kept and shown: without secrets, without whole paths of the machine, and never longer than its bound."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from rspp.control.fleet.work import RUNNING, Missing, Output, Requirement, Result, Run, Step, Work
from rspp.manifest.document import MET, EngineEntry, ResultStatus, RoleEntry, StepStatus
from rspp.manifest.telling import WorkSnapshot
from rspp.timeline.redaction.forms import Kind, without_secrets

RECORD_BYTES_MAX: Final = 64 * 1024
# Tried in turn until the record fits: how many entries a list has, and how many characters a text.
FITS: Final = ((1_000, 2_000), (200, 600), (60, 300), (20, 200), (5, 120), (1, 60))
PAST_STEPS_MAX: Final = 100

_DIGEST: Final = re.compile(r"#sha256=[0-9a-f]{64}\Z")
_HEX: Final = re.compile(r"[0-9a-f]{64}\Z")
# A path from a root: of it only the last name is told. An address of the web, or a path below a folder, is none.
_ROOTED: Final = re.compile(
    r"(?:file://|(?<![\w.~/:#?=&%+-]))(?:~?/|[A-Za-z]:\\)(?:[^\s'\"<>|;,()\[\]{}/\\]+[/\\])+([^\s'\"<>|;,()\[\]{}/\\]*)"
)
ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode


def recorded(snapshot: WorkSnapshot, before: Work | None) -> Work:
    """What is kept of a snapshot, after what was kept before it."""
    is_same = before is not None and before.begun == snapshot.begun
    work = _fitting(_whole(snapshot, before.past if before is not None and is_same else ()))
    # What is cut first is cheaper to clean: a text that is cut ends with a whole word, so no secret loses its form.
    clean: Work = msgspec.convert(_clean(msgspec.to_builtins(work), ""), Work)
    return _fitting(clean)


def _whole(snapshot: WorkSnapshot, past: tuple[Step, ...]) -> Work:
    ledgers = snapshot.ledgers
    return Work(
        id=snapshot.id,
        state=snapshot.state,
        kind=snapshot.kind,
        step=snapshot.step,
        goal=snapshot.goal,
        reason=snapshot.reason,
        author=snapshot.author,
        folder=snapshot.folder.replace("\\", "/").rstrip("/").rpartition("/")[2],
        since_ms=snapshot.since_ms,
        updated_at_ms=snapshot.updated_at_ms,
        line=snapshot.line,
        trace=_digest(snapshot.trace),
        begun=_digest(snapshot.begun),
        begun_at_ms=snapshot.begun_at_ms,
        steps=snapshot.steps,
        steps_done=snapshot.steps_done,
        past=_past(snapshot, past),
        routing=msgspec.to_builtins(snapshot.routing),
        roles=tuple(_run(one.role, one) for one in ledgers.ROLE_LEDGER),
        engines=tuple(_run(one.eng_key, one) for one in ledgers.ENGINE_RUN_LEDGER.entries),
        outputs=tuple(
            Output(name=one.output, present=one.present, source=one.source, ref=one.ref)
            for one in ledgers.OUTPUT_LEDGER
        ),
        missing=tuple(Missing(code=one.code, what=one.what, fix=one.fix) for one in snapshot.missing),
        requirements=tuple(map(_requirement, snapshot.requirements)),
        resume_allowed=snapshot.resume_allowed,
        next_file=snapshot.target.FILE,
        next_goal=snapshot.target.GOAL,
        result=_result(snapshot.result),
    )


def _digest(text: str) -> str:
    return text if _HEX.match(text) else ""


def _run(name: str, entry: RoleEntry | EngineEntry) -> Run:
    return Run(name=name, status=entry.status.value, outputs=entry.outputs_produced, notes=entry.notes)


def _requirement(text: str) -> Requirement:
    """As the file has it: `REQUIREMENT`, or once it is met `REQUIREMENT => REF`."""
    what, met, ref = text.rpartition(MET)
    return Requirement(what=what, ref=ref) if met else Requirement(what=text)


def _result(told: dict[str, Any]) -> Result:
    """LAST_RESULT by its keys; what is not as it should be is left out."""

    def text(key: str) -> str:
        value = told.get(key, "")
        return value if isinstance(value, str) else ""

    def texts(key: str) -> tuple[str, ...]:
        value = told.get(key, ())
        listed = value if isinstance(value, list | tuple) else ()
        return tuple(one for one in listed if isinstance(one, str))

    return Result(
        status=text("STATUS") or ResultStatus.NONE.value,
        code=text("FAIL_CODE"),
        reasons=texts("FAIL_REASONS"),
        fixes=texts("FIX_LIST"),
        report=text("VAL_REPORT_REF"),
        pack=text("PACK_OUTPUT_REF"),
    )


def _past(snapshot: WorkSnapshot, before: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps so far, each as it was told last; of very many the newest."""
    if not snapshot.step:
        return before
    ended = snapshot.state != RUNNING
    now = Step(
        step=snapshot.step,
        goal=snapshot.goal,
        status=_result(snapshot.result).status if ended else StepStatus.RUNNING.value,
        at_ms=snapshot.updated_at_ms,
    )
    kept = before[:-1] if before and before[-1].step == now.step else before
    return (*kept, now)[-PAST_STEPS_MAX:]


# ---- nothing secret, and no whole path ---------------------------------------------------------------------------------

# Names as they were chosen: a signal is for this session and this step.
_AS_IT_IS: Final = frozenset({"id", "step", "trace", "begun"})
_NAMES: Final = frozenset({"state", "kind", "author", "folder", "name", "source", "code", "status"})


def said(text: str, kind: Kind = Kind.FREE) -> str:
    """Words, or a reference: what is secret is taken out, of a rooted path its last name stays."""
    digest = _DIGEST.search(text)
    tail = digest[0] if digest else ""
    cleaned = without_secrets(text.removesuffix(tail), kind)
    return _ROOTED.sub(lambda found: f".../{found[1]}", cleaned) + tail


def _clean(value: Any, name: str) -> Any:
    if isinstance(value, str):
        if name in _AS_IT_IS:
            return value
        return said(value, Kind.IDENTITY if name in _NAMES else Kind.FREE)
    if isinstance(value, dict):
        return {key: _clean(one, key) for key, one in value.items()}
    return [_clean(one, name) for one in value] if isinstance(value, list | tuple) else value


# ---- its bound ---------------------------------------------------------------------------------------------------------


def _fitting(work: Work) -> Work:
    """The first that fits of the whole and of shorter and shorter ones, each saying what was cut."""
    if len(ENCODE(work)) <= RECORD_BYTES_MAX:
        return work
    for items, characters in FITS[:-1]:
        shorter = _shortened(work, items, characters)
        if len(ENCODE(shorter)) <= RECORD_BYTES_MAX:
            return shorter
    return _shortened(work, *FITS[-1])  # one short entry in each list: that always fits


def _shortened(work: Work, items: int, characters: int) -> Work:
    cut: dict[str, int] = {}  # bounded: by the fields

    def short(value: Any, name: str) -> Any:
        if isinstance(value, str):
            return value if name in _AS_IT_IS else _shorter(value, characters)
        if isinstance(value, list | tuple):
            kept = value[-items:] if name == "past" else value[:items]
            if len(value) > items:
                cut[name] = cut.get(name, 0) + len(value) - items
            return [short(one, name) for one in kept]
        return {key: short(one, key) for key, one in value.items()} if isinstance(value, dict) else value

    plain: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(work, cut=()))
    fields = short(plain, "")
    words = [f"{name}: {count} more" for name, count in sorted(cut.items())]
    fields["cut"] = list(dict.fromkeys((*work.cut, *words, "long texts")))
    made: Work = msgspec.convert(fields, Work)
    return made


def _shorter(text: str, characters: int) -> str:
    """Whole words of the text, so many characters at most; a digest stays whole."""
    if len(text) <= characters:
        return text
    digest = _DIGEST.search(text)
    words = re.split(r"(?<=\s)", text[:characters])[:-1]
    return "".join(words).rstrip() + "..." + (digest[0] if digest else "")
