"""What must always hold, INV-01 to INV-16, judged from outside: over a session's inputs and effects alone.

The simulator, the property tests and replay all evaluate this one package. It shares no state with the kernel and asks
it nothing: a kernel that lies to itself is still caught. `Monitor` is fed everything in order and collects violations.
"""

from rspp.kernel.invariants.monitor import Monitor
from rspp.kernel.invariants.view import INVARIANTS, Violation

__all__ = ["INVARIANTS", "Monitor", "Violation"]
