"""For development only: one invented thing of each kind, in the shape that `schema.graphql` gives it."""

from __future__ import annotations

import math
import time
from itertools import pairwise
from typing import Any

import tables


def row(
    surface: str,
    name: str,
    state: str,
    level: str,
    reason: str,
    message: str,
    since: int,
    facts: dict[str, Any],
) -> dict[str, Any]:
    return {
        "surface": surface,
        "aggregateId": name,
        "tenant": None,
        "state": state,
        "level": level,
        "reason": reason,
        "message": message,
        "sinceMs": since,
        "over": False,
        "facts": facts,
    }


def point(name: str, p50: float | None, p95: float | None, p99: float | None, count: int) -> dict[str, Any]:
    return {"name": name, "p50Ms": p50, "p95Ms": p95, "p99Ms": p99, "count": count}


def surface_of(name: str, aggregate: str, storage: str, coverage: str) -> dict[str, Any]:
    return {
        "name": name,
        "owner": f"rspp.control.{name}",
        "summary": f"Each {aggregate} as it is now.",
        "aggregateType": aggregate,
        "storage": storage,
        "truth": "canonical",
        "derivedFrom": [],
        "affectsHealth": True,
        "affectsActions": True,
        "authority": name == "leases",
        "coverage": coverage,
        "read": f"{name}.list",
    }


def record(
    sequence: int, surface: str, change: str, aggregate: str, severity: str, at_ms: int
) -> dict[str, Any]:
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_ms / 1_000)) + f".{at_ms % 1_000:03d}Z"
    return {
        "schemaVersion": "runtime-state-change-v1",
        "eventId": f"e-{sequence:08x}",
        "sequence": sequence,
        "occurredAt": at,
        "source": "w-eu-2",
        "surface": surface,
        "changeType": change,
        "aggregateType": surface.rstrip("s"),
        "aggregateId": aggregate,
        "changedSurfaces": [surface, "runtime_health"],
        "severity": severity,
        "snapshotHint": f"{surface}.list",
        "mutatesAuthorityState": surface == "leases",
        "artifactRef": None,
        "correlationId": f"c-{sequence % 97:02d}",
        "causationId": None,
        "metadata": {"row": f"{sequence * 7919 % 2**32:08x}", "state": change},
    }


def session_item(number: int, began: int) -> dict[str, Any]:
    state = ("running", "running", "connected", "degraded", "ended")[number % 5]
    return {
        "tenant": ("acme", "globex")[number % 2],
        "id": f"s-{(number + 11) * 7919 % 65_536:04x}",
        "state": state,
        "sinceMs": began - number * 31_000,
        "openedMs": began - number * 47_000,
        "epoch": 1 + number % 3,
        "owner": ("w-eu-1", "w-eu-2", "w-us-1")[number % 3],
        "region": "eu-west",
        "pipeline": "voice-support@14",
        "turns": number * 3 % 17,
        "line": "connected",
        "missing": ["sound"] if state == "degraded" else [],
        "reason": "provider_lost" if state == "degraded" else "",
        "recorded": number % 3 != 1,
    }


def session_of(item: dict[str, Any]) -> dict[str, Any]:
    said = [
        ("caller", "Hello, when does the shop open on Monday?"),
        ("assistant", "On Monday we open at nine and close at"),
        ("caller", "And on Sunday?"),
        ("assistant", "On Sunday we are closed, I am sorry."),
    ]
    transcript = [
        {
            "turn": 1 + index // 2,
            "speaker": who,
            "text": text,
            "atMs": 1_200 + index * 2_900,
            "heardMs": 900.0 if who == "assistant" else None,
            "heard": "On Monday we open" if index == 1 else None,
            "interrupted": index == 1,
            "final": True,
        }
        for index, (who, text) in enumerate(said)
    ]
    turns = [
        {
            "number": number,
            "id": f"t-{number}",
            "beganMs": 1_000 + (number - 1) * 5_800,
            "endedMs": 5_400 + (number - 1) * 5_800,
            "outcome": "committed" if number == 2 else "aborted",
            "reason": "" if number == 2 else "interrupted",
            "stages": [
                {"name": one[0], "beganMs": 1_000 + (number - 1) * 5_800 + index * 200, "tookMs": one[1]}
                for index, one in enumerate(tables.STAGES)
            ],
            "heardAfterMs": 834.0,
            "interruptStopMs": 38.0 if number == 1 else None,
            "trouble": [],
        }
        for number in (1, 2)
    ]
    lanes = ("control", "data", "telemetry")
    rows = [
        {
            "number": number,
            "atMs": number * 51,
            "direction": ("in", "out")[number % 2],
            "lane": lanes[number % 3],
            "node": ("vad", "stt", "llm", "tts")[number % 4],
            "turn": 1 + number // 60,
            "kind": ("speech_started", "transcript", "call_started", "audio")[number % 4],
            "text": "",
            "count": 1 + number % 5,
        }
        for number in range(120)
    ]
    return {
        "item": item,
        "resolved": {
            "spec": "voice-support@14",
            "nodes": {"stt": {"provider": "onyx-stt"}, "llm": {"provider": "basalt-lm"}},
        },
        "withheld": "",
        "transcript": transcript,
        "turns": turns,
        "timeline": lambda _, first=500, after=0, **__: {
            "items": rows[after : after + first],
            "next": None,
            "total": len(rows),
        },
        "evidence": [{"turn": 1, "outcome": "aborted", "reason": "interrupted"}],
        "summary": {"turns": 2, "tokens": 412, "audioSeconds": 11.4, "cost": 0.0131},
        "sound": [
            {
                "side": side,
                "seconds": 11.4,
                "url": f"/v1/sound/{side}.wav",
                "peaks": [abs(math.sin(index / 7)) * 0.9 for index in range(200)],
            }
            for side in ("caller", "assistant")
        ],
        "recordedLevel": "full",
    }


def pipeline(name: str, began: int) -> dict[str, Any]:
    nodes = [
        ("line_in", "source", None),
        ("vad", "vad", None),
        ("stt", "stt", "onyx-stt"),
        ("llm", "llm", "basalt-lm"),
        ("tts", "tts", "amber-tts"),
        ("line_out", "sink", None),
    ]
    edges = [
        {"from": left[0], "to": right[0], "port": "out", "lane": "data", "condition": None}
        for left, right in pairwise(nodes)
    ]
    versions = [
        {
            "version": str(number),
            "sha256": f"{number * 2_654_435_761 % 2**32:08x}" * 8,
            "author": "ada@ops",
            "createdAtMs": began - (15 - number) * 86_400_000,
            "share": {14: 0.9, 15: 0.1}.get(number, 0.0),
        }
        for number in (15, 14, 13)
    ]
    return {
        "name": name,
        "version": "14",
        "versions": versions,
        "rollout": {"state": "canary", "candidate": "15", "share": 0.1},
        "nodes": [
            {"id": node, "type": kind, "provider": provider, "inserted": node == "vad"}
            for node, kind, provider in nodes
        ],
        "edges": edges,
        "text": f"name: {name}\nversion: 14\n",
        "problems": [],
    }


def work_of(row: dict[str, Any]) -> dict[str, Any]:
    """The work session of a row: what it has done so far, and what it lacks."""
    digest, facts, stopped = "ab12" * 16, row["facts"], row["level"] != "OK"
    names = ("lint", "compile", "replay", "gates", "publish", "prove")[: facts["steps_done"] + 1]
    past = [
        {"step": str(number), "goal": name, "status": "PASS", "atMs": row["sinceMs"] - 60_000 * (9 - number)}
        for number, name in enumerate(names, 1)
    ]
    if stopped:
        past[-1]["status"] = "STOP_GAP"
    return {
        "id": row["aggregateId"],
        "state": row["state"],
        "kind": facts["kind"],
        "step": str(len(past)),
        "goal": past[-1]["goal"],
        "reason": "a gate is red" if stopped else "",
        "author": facts["author"],
        "folder": row["aggregateId"],
        "sinceMs": row["sinceMs"],
        "updatedAtMs": row["sinceMs"],
        "line": 41,
        "trace": digest,
        "steps": len(past),
        "stepsDone": facts["steps_done"],
        "past": past,
        "routing": {"REQUIRED_ROLES": ["VAL"], "NO_GO_LIST": ["secrets/"]},
        "roles": [{"name": "VAL", "status": "ran", "outputs": ["VAL_REPORT"], "notes": ""}],
        "engines": [
            {"name": "KEY:ENG.REPLAY", "status": "ran", "outputs": [], "notes": "1,204 steps alike"},
            {"name": "KEY:ENG.GATES", "status": "failed", "outputs": [], "notes": "first audio is late"},
        ],
        "outputs": [
            {"name": "VAL_REPORT", "present": True, "source": "VAL", "ref": f"val.json#sha256={digest}"},
            {"name": "PACK_OUTPUT", "present": False, "source": "PACK", "ref": ""},
        ],
        "missing": [],
        "requirements": [{"what": "Show a green gate", "ref": ""}] if stopped else [],
        "resumeAllowed": not stopped,
        "nextFile": "",
        "nextGoal": "NONE",
        "result": {
            "status": "STOP_GAP" if stopped else "PASS",
            "code": "gate_red" if stopped else "",
            "reasons": ["a gate is red"] if stopped else [],
            "fixes": [],
            "report": f"val.json#sha256={digest}",
            "pack": "",
        },
        "cut": [],
        "signal": None,
    }
