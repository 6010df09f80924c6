"""What a report of validation must be to prove anything: of this step, of one mind with itself, and saying pass."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

from rspp.contract.codec import CodecError, decode_json
from rspp.manifest.document import Document, ValCheck, ValReport
from rspp.manifest.refs import Ref

SCHEMA = ValReport(session="", step="", verdict="").schema
VERDICTS = ("pass", "fail", "skipped")

# A code, what is wrong, what to do.
Fault = tuple[str, str, str]
_AGAIN = "Validate this step again, and name the new report."


def report_faults(document: Document, ref: Ref, data: bytes | None) -> Iterator[Fault]:
    """All that keeps a report from proving the step; nothing where it does."""
    if data is None or hashlib.sha256(data).hexdigest() != ref.sha256:
        yield ("report_unreadable", f"VAL_REPORT {ref.path} cannot be read as it was recorded", _AGAIN)
        return
    try:
        report = decode_json(data, ValReport)
    except CodecError as error:
        yield ("report_unreadable", f"VAL_REPORT {ref.path} cannot be read: {error}", _AGAIN)
        return
    if report.schema != SCHEMA:
        yield ("report_unreadable", f"VAL_REPORT is a {report.schema or 'nothing'}, not a {SCHEMA}", _AGAIN)
    session, step = document.SESSION.SESSION_ID, document.CURRENT_STEP.STEP_ID
    if report.session != session:
        what = f"VAL_REPORT is of the session {report.session}, not of {session}"
        yield ("report_other_session", what, _AGAIN)
    if report.step != step:
        yield ("report_other_step", f"VAL_REPORT is of the step {report.step}, not of {step}", _AGAIN)
    run = document.LEDGERS.ENGINE_RUN_LEDGER.run_id
    if report.run and report.run != run:
        what = (
            f"VAL_REPORT is of the run {report.run}, which is another step of that name: this one's is {run}"
        )
        yield ("report_other_run", what, _AGAIN)
    yield from _verdict(report)
    yield from _required(document, report)


def _verdict(report: ValReport) -> Iterator[Fault]:
    mend = "Mend what its checks found, and validate again."
    words = [check.verdict for check in report.checks]
    if report.verdict not in ("pass", "fail") or set(words) - set(VERDICTS):
        yield ("report_unreadable", "VAL_REPORT has a verdict that is no word of one", _AGAIN)
    elif report.verdict == "fail":
        yield ("report_fails", f"VAL_REPORT says fail: {_failed(report.checks) or 'no check says why'}", mend)
    elif "fail" in words:
        what = f"VAL_REPORT says pass, and its checks say fail: {_failed(report.checks)}"
        yield ("report_contradicts", what, mend)
    elif "pass" not in words:
        yield ("report_empty", "VAL_REPORT says pass without a check that passed", "Check something.")
    for key, count in Counter(check.key for check in report.checks).items():
        if count > 1:
            what = f"VAL_REPORT has the check {key} {count} times"
            yield ("report_contradicts", what, "Let each check stand there once.")


def _failed(checks: tuple[ValCheck, ...]) -> str:
    return ", ".join(check.key for check in checks if check.verdict == "fail")


def _required(document: Document, report: ValReport) -> Iterator[Fault]:
    verdicts = {check.key: check.verdict for check in report.checks}
    for key in dict.fromkeys(document.ROUTING.REQUIRED_VAL_KEYS):
        verdict = verdicts.get(key)
        if verdict is None:
            yield ("check_missing", f"VAL_REPORT has no check {key}", f"Validate {key}, and report it.")
        elif verdict != "pass":
            said = "was skipped" if verdict == "skipped" else "did not pass"
            yield (
                "check_not_passed",
                f"the check {key} {said}",
                f"Mend what {key} found, and validate again.",
            )


__all__ = ["report_faults"]
