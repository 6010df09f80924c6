"""Two stories compared: every divergence in order, what follows from which, and both runs side by side."""

from __future__ import annotations

from rspp.timeline.diff.expected import NOTHING, Expectations, judge
from rspp.timeline.diff.findings import DivergenceClass as Kind
from rspp.timeline.diff.findings import Findings, Tolerance
from rspp.timeline.diff.items import ItemsCompared, Side
from rspp.timeline.diff.outputs import side_by_side
from rspp.timeline.diff.proofs import ProofsCompared, compare_graphs
from rspp.timeline.diff.report import Report, run_of
from rspp.timeline.diff.rows import rows
from rspp.timeline.diff.turns import pairs
from rspp.timeline.story import Story


def compare(
    expected: Story,
    got: Story,
    tolerance: Tolerance = Tolerance(),  # noqa: B008 - frozen
    expectations: Expectations = NOTHING,
    *,
    same_clock: bool | None = None,
) -> Report:
    """What differs between two runs. Replays of one session share its clock, unless `same_clock` says otherwise."""
    shared = expected.session_id == got.session_id if same_clock is None else same_clock
    turns = pairs(expected, got)
    # A turn that only the second run has is called by its own name, marked: the first may have another of that name.
    names = {other: mine or f"+{other}" for mine, other in turns if other is not None}
    left = Side(expected, rows(expected, {}), shared=shared)
    right = Side(got, rows(got, names), shared=shared)
    findings = Findings()
    cause = compare_graphs(expected, got, findings)
    items = ItemsCompared(left, right, findings, tolerance, shared=shared)
    items.run()
    proofs = ProofsCompared(left, right, findings, items.shifts, tolerance, shared=shared)
    for mine, other in turns:
        if mine is not None and other is not None:
            proofs.turn(mine, other, cause)
    if shared and not findings.total and not items.shifts.most_ms:
        _digests(expected, got, findings, items)
    return Report(
        expected=run_of(expected),
        got=run_of(got),
        tolerance=tolerance,
        same_clock=shared,
        divergences=findings.kept,
        total=findings.total,
        roots=findings.roots,
        counts={kind.value: findings.counts[kind.value] for kind in Kind},
        apart_most_ms=round(items.shifts.most_ms, 3),
        verdict=judge(findings.kept, findings.total, expectations, tolerance),
        turns=side_by_side(expected, got, turns),
    )


def _digests(expected: Story, got: Story, findings: Findings, items: ItemsCompared) -> None:
    """Nothing else differs, not even inside the tolerance: then the digests must be equal, or frames are not."""
    if None in (expected.digest, got.digest) or expected.through != got.through:
        return
    if expected.digest != got.digest and items.elsewhere is not None:
        items.moved(*items.elsewhere)
    elif expected.digest != got.digest:
        findings.add(
            Kind.OUTCOME,
            "trace",
            "every item is the same, but not the frames: what was fed to providers, or when each was sent",
            field="digest",
            expected=expected.digest,
            got=got.digest,
        )
    elif (
        expected.words != got.words
        and None not in (expected.words, got.words)
        and not expected.withheld_texts + got.withheld_texts
    ):
        findings.add(
            Kind.OUTCOME,
            "trace",
            "texts of the same shape differ in their words",
            field="words",
            expected=expected.words,
            got=got.words,
        )
