"""Every fault that the simulator can cause, by name, with its class of the contract's section 11.

A fault is armed at a time and fires when it really happens: a provider's, with the next call of its modality; an
overload's, when something was really refused for it. Only what fired is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

CLASSES: Final[Mapping[str, str]] = {
    "F1": "admission overload",
    "F2": "node or recorder failure",
    "F3": "provider failure",
    "F4": "edge pressure",
    "F5": "sync loss",
    "F6": "transport",
    "F7": "authority conflict",
    "F8": "failover",
}


class Fault(msgspec.Struct, frozen=True, gc=False):
    """One way in which the world goes wrong, and the actor that does it."""

    name: str
    failure_class: str
    actor: str
    meaning: str
    excuses: bool = True  # may it be why an utterance gets no answer?
    ends: bool = False  # does the session end of it?


_F = Fault
_CALLS: Final = {
    "timeout": "never answers",
    "silent": "accepts the call, then says nothing",
    "overloaded": "refuses for lack of capacity, and says when to come back",
    "blocked": "refuses, for good",
    "broken": "fails with an infrastructure error",
    "cancelled": "cancels the call by itself",
    "half": "fails in the middle of its stream",
    "half_silent": "stops in the middle of its stream",
    "duplicates": "sends every chunk twice",
    "late": "goes on sending after it has finished",
    "ignores_cancel": "goes on sending when it is told to stop",
    "late_ack": "says long after the cancellation that it has stopped",
    "down": "fails every call for three seconds",
}
_PROVIDERS: Final = tuple(
    Fault(f"{modality}_{how}", "F3", "providers", f"the {modality} provider {meaning}")
    for modality in ("llm", "tts")
    for how, meaning in _CALLS.items()
)
_ROWS: Final = (
    _F("capacity_defer", "F1", "control", "the control plane defers new turns for a second"),
    _F("capacity_reject", "F1", "control", "the control plane refuses new turns for two seconds"),
    _F("quota_used_up", "F1", "control", "the tenant's turns a minute are used up"),
    _F("pool_saturated", "F1", "control", "the execution pool takes no work for a second"),
    _F("pool_closed", "F1", "control", "the execution pool is closed for a second"),
    _F("snapshot_stale", "F1", "control", "the view of the control plane is too old"),
    _F("snapshot_lost", "F1", "control", "the view of the control plane is gone"),
    _F("snapshot_incompatible", "F1", "control", "the view of the control plane is of another version"),
    _F("recorder_pressed", "F1", "recorder", "the recorder's queue fills and its export lags", excuses=False),
    _F("node_raises", "F2", "nodes", "a sync node raises"),
    _F("node_overruns", "F2", "nodes", "a sync node takes far longer than its budget"),
    _F("node_wrong_event", "F2", "nodes", "a sync node emits an event that its port does not carry"),
    _F("node_worker_dies", "F2", "nodes", "a node's worker dies"),
    _F("evidence_fails", "F2", "recorder", "the local append of a turn's evidence fails"),
    _F("evidence_late", "F2", "recorder", "the local append answers when nobody waits any more"),
    _F("evidence_never", "F2", "recorder", "the local append never answers"),
    *_PROVIDERS,
    _F("stt_fails", "F3", "listeners", "the recogniser's stream breaks"),
    _F("stt_mute", "F3", "listeners", "the recogniser hears nothing for three seconds"),
    _F("stt_late_final", "F3", "listeners", "a final comes long after its utterance, with other words", excuses=False),
    _F("vad_fails", "F3", "listeners", "the voice detector's stream breaks"),
    _F("vad_mute", "F3", "listeners", "the voice detector scores nothing for a second and a half"),
    _F("end_of_turn_fails", "F3", "listeners", "the end-of-turn detector's stream breaks", excuses=False),
    _F("listener_slow", "F4", "listeners", "a listener takes a second to accept its stream; audio queues up"),
    _F("tts_flood", "F4", "providers", "a synthesiser sends a long answer's audio all at once"),
    _F("tts_ignores_throttle", "F4", "providers", "a flooding synthesiser does not stop when told to"),
    _F("llm_flood", "F4", "providers", "a language model sends hundreds of short sentences at once"),
    _F("uplink_loss", "F5", "uplink", "a run of the caller's frames is lost"),
    _F("sync_cut", "F5", "listeners", "a synchronised edge loses frames, which cuts its domain"),
    _F("clock_skew", "F5", "control", "the media clock runs away from the monotonic one"),
    _F("jitter", "F6", "uplink", "the caller's frames come unevenly for two seconds", excuses=False),
    _F("reorder", "F6", "uplink", "the caller's frames come out of order", excuses=False),
    _F("duplicate", "F6", "uplink", "the caller's frames come twice", excuses=False),
    _F("stall", "F6", "line", "nothing can be sent for a while"),
    _F("silence", "F6", "line", "the line stands but nothing comes for a while"),
    _F("disconnect", "F6", "line", "the line is cut and comes back inside the deadline"),
    _F("disconnect_flap", "F6", "line", "the line is cut three times in two seconds"),
    _F("disconnect_for_good", "F6", "line", "the line is cut and does not come back", ends=True),
    _F("hang_up_mid_turn", "F6", "line", "the caller hangs up while the assistant works or speaks", ends=True),
    _F("slow_reader", "F6", "client", "the client plays slower than real time", excuses=False),
    _F("late_reports", "F6", "client", "the client reports playback after it was told to stop", excuses=False),
    _F("no_reports", "F6", "client", "the client's playback reports are lost for three seconds", excuses=False),
    _F("impossible_reports", "F6", "client", "the client claims to have played what was never sent", excuses=False),
    _F("forged_audio", "F7", "authority", "frames carry an epoch that was not issued", excuses=False),
    _F("forged_text", "F7", "authority", "typed words carry an epoch that was not issued", excuses=False),
    _F("forged_control", "F7", "authority", "a cancel carries an epoch that was not issued", excuses=False),
    _F("forged_report", "F7", "authority", "a playback report carries an old epoch", excuses=False),
    _F("stale_lease", "F7", "authority", "a lease of an older epoch is offered", excuses=False),
    _F("forged_renewal", "F7", "authority", "a renewal names an epoch that was not issued", excuses=False),
    _F("stale_route", "F7", "authority", "an older routing view is published", excuses=False),
    _F("lease_revoked", "F7", "authority", "the lease is revoked", ends=True),
    _F("lease_expires", "F7", "authority", "the lease is not renewed and runs out", ends=True),
    _F("revoke_and_cancel", "F7", "authority", "revoke and cancel come at the same instant", ends=True),
    _F("lease_rotated", "F8", "authority", "the lease is rotated to a new epoch in place"),
    _F("failover_planned", "F8", "authority", "the session migrates to another kernel, announced"),
    _F("failover_crash", "F8", "authority", "the kernel dies; another goes on with its durable state"),
    _F("failover_zombie", "F8", "authority", "another kernel takes over while the old one is still being fed"),
)  # fmt: skip

FAULTS: Final[Mapping[str, Fault]] = {fault.name: fault for fault in _ROWS}


class UnknownFaultError(ValueError):
    """A name that is neither a fault nor a class of faults."""


def chosen(wish: str) -> tuple[str, ...]:
    """The faults that `all`, `none`, or a list of classes and names asks for, in the table's order."""
    if wish == "all":
        return tuple(FAULTS)
    if wish in ("none", ""):
        return ()
    words = [word.strip() for word in wish.split(",") if word.strip()]
    unknown = [word for word in words if word not in FAULTS and word not in CLASSES]
    if unknown:
        raise UnknownFaultError(
            f"no fault or class is called {', '.join(map(repr, unknown))}; `rspp sim faults` lists them"
        )
    return tuple(name for name, fault in FAULTS.items() if name in words or fault.failure_class in words)


def by_class(fired: Mapping[str, int]) -> dict[str, int]:
    """How often each class fired; a class that did not fire is there with 0."""
    counts = dict.fromkeys(CLASSES, 0)
    for name, times in fired.items():
        counts[FAULTS[name].failure_class] += times
    return counts


def excused(fired: Iterable[str]) -> bool:
    """Can anything that fired be why an utterance got no answer?"""
    return any(FAULTS[name].excuses for name in fired)
