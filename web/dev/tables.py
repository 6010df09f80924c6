"""For development only: what the invented fleet consists of, as tables."""

from __future__ import annotations

from typing import Final

SURFACES: Final = (
    # name, aggregate type, storage, coverage
    ("sessions", "session", "kv:sessions", "journal"),
    ("workers", "worker", "kv:members", "journal"),
    ("leases", "lease", "kv:leases", "journal"),
    ("pipelines", "pipeline", "kv:documents", "journal"),
    ("rollouts", "rollout", "kv:rollouts", "journal"),
    ("provider_health", "provider", "kv:provider_health", "journal"),
    ("circuits", "circuit", "kv:conditions", "watch"),
    ("evidence_export", "queue", "kv:conditions", "watch"),
    ("recordings", "disk", "kv:conditions", "watch"),
    ("approvals", "approval", "kv:approvals", "journal"),
    ("turns", "turn", "memory", "none"),
    ("audit_log", "audit_log", "log:audit", "journal"),
)
NAMES: Final = (
    ("sessions", "turn_counted", "acme/s-7f3a", "info"),
    ("workers", "load_changed", "w-eu-2", "info"),
    ("leases", "renewed", "acme/s-7f3a", "info"),
    ("sessions", "opened", "acme/s-91c0", "info"),
    ("provider_health", "availability_changed", "quartz-stt", "warning"),
    ("sessions", "ended", "globex/s-21aa", "info"),
)
PROVIDERS: Final = (
    ("onyx-stt", "stt", "closed", "OK", 0.9994, 182, 344, 48_211, 29, 0.0043),
    ("quartz-stt", "stt", "open", "FAILED", 0.6120, 412, 2_950, 1_904, 739, 0.0036),
    ("basalt-lm", "llm", "closed", "OK", 0.9987, 318, 702, 41_090, 53, 0.0121),
    ("local-lm", "llm", "closed", "OK", 1.0, 441, 893, 6_118, 0, None),
    ("amber-tts", "tts", "half_open", "DEGRADED", 0.9713, 131, 488, 39_405, 1_131, 0.0150),
    ("hibari", "tts", "closed", "OK", 1.0, 96, 171, 8_233, 2, None),
)
STAGES: Final = (("endpoint", 212, 388, 466), ("transcribe", 141, 262, 390), ("think", 322, 655, 1_012), ("speak", 118, 203, 344), ("playout", 41, 63, 95))  # fmt: skip
# surface, thing, tenant, level, code, sentence, how long ago
TOLD: Final = [
    (
        "workers",
        "w-us-2",
        None,
        "FAILED",
        "worker_silent",
        "It has not renewed its record for 14 s; its 38 sessions move to others.",
        14_000,
    ),
    (
        "circuits",
        "quartz-stt@w-eu-1",
        None,
        "FAILED",
        "circuit_open",
        "quartz-stt failed 12 times in a row; it is not called before 17:41:20.",
        91_000,
    ),
    (
        "recordings",
        "w-us-1",
        None,
        "DEGRADED",
        "recordings_full",
        "98 % of 20 GiB are used; new sessions are recorded without sound.",
        610_000,
    ),
    (
        "sessions",
        "s-7f3a",
        "acme",
        "DEGRADED",
        "session_stuck",
        "No progress for 42 s in turn 4.",
        42_000,
    ),
    (
        "workers",
        "w-eu-2",
        None,
        "NOTICE",
        "worker_draining",
        "It takes nobody new; 11 sessions are left.",
        180_000,
    ),
    (
        "approvals",
        "p-118",
        "acme",
        "NOTICE",
        "approval_waiting",
        "Grace asks to raise acme's quota to 200 sessions.",
        3_700_000,
    ),
]
# code -> kind, title, role, risk, path, command
KINDS: Final = {
    "worker_silent": (
        "fence_worker",
        "Cut worker {0} off: others may take what it had",
        "admin",
        "high",
        "workers/{0}/fence",
        "workers fence",
    ),
    "worker_draining": (
        "resume_worker",
        "Resume worker {0}: it takes new sessions again",
        "operator",
        "low",
        "workers/{0}/resume",
        "workers resume",
    ),
    "circuit_open": (
        "reset_circuit",
        "Reset the circuit of provider {0}: it is called again at once",
        "operator",
        "medium",
        "provider-health/{0}/reset",
        "fleet reset-circuit",
    ),
    "recordings_full": (
        "free_recordings",
        "Delete what retention lets go of the recordings on worker {0}",
        "operator",
        "medium",
        "workers/{0}/free-recordings",
        "workers free-recordings",
    ),
    "session_stuck": (
        "close_session",
        "Close session {0} in good order",
        "operator",
        "medium",
        "tenants/acme/sessions/{0}/close",
        "sessions close --tenant=acme",
    ),
    "approval_waiting": (
        "approve",
        "Agree to proposal {0}",
        "admin",
        "medium",
        "tenants/acme/approvals/{0}/approve",
        "approvals approve --tenant=acme",
    ),
}
