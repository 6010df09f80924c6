"""The names that stand in `emitted_by`: our own modules, never the numbers of an older design."""

from __future__ import annotations

from typing import Final

PRELUDE: Final = "turn_taking"
ARBITER: Final = "arbiter"
PLANNER: Final = "planner"
GATEWAY: Final = "gateway"
LANES: Final = "lanes"
BUFFERS: Final = "buffers"
FLOW: Final = "flow"
SYNC: Final = "sync"
GRAPH: Final = "graph"
HOSTING: Final = "hosting"
FENCES: Final = "fences"
BUDGETS: Final = "budgets"
CALLS: Final = "calls"
AUTHORITY: Final = "authority"
STATE: Final = "state"
IDENTITY: Final = "identity"
ADMISSION: Final = "admission"
TIMEBASE: Final = "timebase"
DETERMINISM: Final = "determinism"
EVIDENCE: Final = "evidence"
PLAYOUT: Final = "playout"
LIFECYCLE: Final = "lifecycle"
CONNECTION: Final = "connection"
TRANSPORT: Final = "transport"
RECORDER: Final = "recorder"
HOST: Final = "host"
LEASE_AUTHORITY: Final = "control.leases"
ROUTING: Final = "control.routing"
CP_ADMISSION: Final = "control.admission"

ALL: Final = frozenset(
    {
        PRELUDE, ARBITER, PLANNER, GATEWAY, LANES, BUFFERS, FLOW, SYNC, GRAPH, HOSTING, FENCES, BUDGETS, CALLS,
        AUTHORITY, STATE, IDENTITY, ADMISSION, TIMEBASE, DETERMINISM, EVIDENCE, PLAYOUT, LIFECYCLE, CONNECTION,
        TRANSPORT, RECORDER, HOST, LEASE_AUTHORITY, ROUTING, CP_ADMISSION,
    }
)  # fmt: skip
