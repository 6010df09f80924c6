"""Two runs compared: what differs, of which class, where first, and whether that was expected.

    compare(expected, got)  ->  Report: divergences, and both runs' outputs, latencies and providers side by side

`rows` names each item without what may differ between equal runs (ids, runtime sequences, the clock's zero); `align` lays two
lists of rows beside each other; `items`, `plans` and `proofs` tell what differs; `expected` judges it.
"""

from rspp.timeline.diff.comparison import compare
from rspp.timeline.diff.findings import Divergence, DivergenceClass, Tolerance
from rspp.timeline.diff.report import Report

__all__ = ["Divergence", "DivergenceClass", "Report", "Tolerance", "compare"]
