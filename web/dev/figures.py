"""For development only: the invented figures of `mock.py`. A `World` is one fleet in one scene, and goes on when it is stepped."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any, Final

import shapes
import tables

SCENES: Final = ("healthy", "trouble", "empty", "viewer", "broken")
RECORDS_MAX: Final = 2_000
PERMISSIONS: Final = (
    "pipelines.read", "providers.read", "sessions.read", "sessions.cancel", "workers.read", "workers.drain", "health.read",
    "health.change", "routes.create", "approvals.decide", "rollout.change", "leases.revoke",
)  # fmt: skip


def now_ms() -> int:
    return int(time.time() * 1_000)


class World:
    """One scene. Everything it answers has the names of `schema.graphql`."""

    def __init__(self, scene: str) -> None:
        self.scene = scene
        self.bad = scene in ("trouble", "viewer")
        self.empty = scene == "empty"
        self.began = now_ms()
        self.sequence = 48_200
        self.records: deque[dict[str, Any]] = deque(maxlen=RECORDS_MAX)
        self.taken: set[str] = set()  # bounded: by the actions that are offered
        for _ in range(0 if self.empty else 140):
            self.step(at_ms=self.began - (48_340 - self.sequence) * 1_700)

    def step(self, at_ms: int | None = None) -> list[dict[str, Any]]:
        if self.empty:
            return []
        self.sequence += 1
        surface, change, aggregate, severity = tables.NAMES[self.sequence % len(tables.NAMES)]
        self.records.append(
            shapes.record(self.sequence, surface, change, aggregate, severity, at_ms or now_ms())
        )
        return [
            {
                "surface": surface,
                "aggregateId": aggregate,
                "sequence": self.sequence,
                "after": self.sequence - 1,
            }
        ]

    def root(self) -> dict[str, Any]:
        # What the schema's resolvers are called with; each takes (info, **arguments).
        return {
            "me": self.me(),
            "surfaces": [shapes.surface_of(*one) for one in tables.SURFACES],
            "rows": lambda _, surface, **asked: self.rows(surface, **asked),
            "row": lambda _, surface, aggregateId, **__: next((one for one in self.rows(surface)["items"] if one["aggregateId"] == aggregateId), None),  # noqa: N803
            "health": lambda _: self.health(),
            "actions": lambda _: self.actions(),
            "journal": lambda _, **asked: self.journal(**asked),
            "journalStatus": lambda _: self.status(),
            "load": lambda _, **__: self.load(),
            "sessions": lambda _, **asked: self.sessions(**asked),
            "session": lambda _, tenant, **asked: self.session(tenant, asked["id"]),
            "pipelines": lambda _, **__: self.pipelines(),
            "pipeline": lambda _, name, **__: next((one for one in self.pipelines() if one["name"] == name), None),
            "providers": lambda _: self.providers(),
            "work": lambda _: self.work(),
            "workSession": lambda _, **asked: next((shapes.work_of(one) for one in self.work() if one["aggregateId"] == asked["id"]), None),
            "act": lambda _, **asked: self.act(asked["id"]),
            "openRoute": lambda _, tenant, **__: {"url": "ws://127.0.0.1:8700/v1/session", "token": "made-up", "session": "s-new", "tenant": tenant, "expiresMs": now_ms() + 60_000},
            "replay": lambda _, **__: {"same": True, "message": "the kernel decided alike in all 1,204 steps", "compared": 1_204, "digest": "9c1f2ab04d77e1aa", "divergence": None},
            "diff": lambda _, **__: {"same": False, "message": "2 turns differ", "differences": [{"turn": 2, "what": "answer", "left": "Tuesday", "right": "Wednesday"}]},
        }  # fmt: skip

    def me(self) -> dict[str, Any]:
        seen = self.scene == "viewer"
        rights = [one for one in PERMISSIONS if one.endswith(".read")] if seen else list(PERMISSIONS)
        name = "viewer@acme" if seen else "ada@ops"
        return {
            "id": name,
            "tenants": ["acme"] if seen else [],
            "everywhere": not seen,
            "permissions": rights,
            "version": "0.1.0",
            "dev": False,
        }

    def rows(self, surface: str, **_: Any) -> dict[str, Any]:
        items = (
            [] if self.empty else {"workers": self.workers, "circuits": self.circuits}.get(surface, list)()
        )
        return {"items": items, "next": None, "total": len(items)}

    def workers(self) -> list[dict[str, Any]]:
        if self.scene == "viewer":
            raise PermissionError("workers.read is needed for this, everywhere")
        made = []
        for index, (name, region, capacity) in enumerate(
            (
                ("w-eu-1", "eu-west", 64),
                ("w-eu-2", "eu-west", 64),
                ("w-us-1", "us-east", 96),
                ("w-us-2", "us-east", 96),
            )
        ):
            used = int(capacity * (0.45 + 0.2 * math.sin(time.time() / 40 + index)))
            state, level, reason, message = "up", "OK", "", ""
            if self.bad and index == 1:
                state, level, reason, message = (
                    "draining",
                    "NOTICE",
                    "worker_draining",
                    "it takes nobody new; 11 sessions are left",
                )
                used = 11
            if self.bad and index == 3:
                state, level, reason, message = (
                    "silent",
                    "FAILED",
                    "worker_silent",
                    "it has not renewed its record for 14 s",
                )
            facts = {
                "kind": "worker",
                "region": region,
                "zone": f"{region}-{'ab'[index % 2]}",
                "sessions": used,
                "capacity": capacity,
                "load": round(used / capacity, 3),
                "ready": level == "OK",
                "version": "0.1.0",
                "endpoint": f"wss://{name}.example.net",
            }
            made.append(
                shapes.row(
                    "workers",
                    name,
                    state,
                    level,
                    reason,
                    message,
                    self.began - 3_600_000 * (index + 2),
                    facts,
                )
            )
        return made

    def circuits(self) -> list[dict[str, Any]]:
        return [
            shapes.row(
                "circuits",
                f"{one[0]}@w-eu-1",
                one[2],
                one[3],
                "circuit_open" if one[2] == "open" else "",
                "",
                self.began - 90_000,
                {"provider": one[0], "worker": "w-eu-1"},
            )
            for one in tables.PROVIDERS
        ]

    def reasons(self) -> list[dict[str, Any]]:
        if not self.bad or self.empty:
            return []
        gone = {one.split(":", 2)[2] for one in self.taken}
        return [
            {
                "surface": s,
                "aggregateId": a,
                "tenant": t,
                "level": lv,
                "code": c,
                "message": m,
                "sinceMs": now_ms() - ago,
            }
            for s, a, t, lv, c, m, ago in tables.TOLD
            if a not in gone
        ]

    def health(self) -> dict[str, Any]:
        reasons = self.reasons()
        order = ["OK", "NOTICE", "DEGRADED", "FAILED"]
        each = []
        for name, *_ in tables.SURFACES:
            mine = [one for one in reasons if one["surface"] == name]
            each.append(
                {
                    "surface": name,
                    "level": max((one["level"] for one in mine), key=order.index, default="OK"),
                    "rows": 0 if self.empty else 4,
                    "reasons": mine,
                }
            )
        each.sort(key=lambda one: -order.index(one["level"]))
        return {
            "level": max((one["level"] for one in each), key=order.index),
            "asOfMs": now_ms(),
            "sequence": self.sequence,
            "stale": False,
            "reasons": reasons,
            "surfaces": each,
        }

    def actions(self) -> list[dict[str, Any]]:
        made = []
        for one in self.reasons():
            kind, title, role, risk, path, cli = tables.KINDS[one["code"]]
            thing = one["aggregateId"].split("@")[0]
            identity = f"{kind}:{one['surface']}:{one['aggregateId']}"
            why = f"{one['code']}: {one['message']}"
            made.append(
                {
                    "id": identity,
                    "kind": kind,
                    "title": title.format(thing),
                    "why": why,
                    "surface": one["surface"],
                    "aggregateId": one["aggregateId"],
                    "tenant": one["tenant"],
                    "role": role,
                    "risk": risk,
                    "allowed": self.scene != "viewer",
                    "call": {
                        "method": "POST",
                        "path": f"/v1/{path.format(thing)}",
                        "body": {"reason": why},
                        "graphql": f'mutation Act($key: String!, $reason: String!) {{ act(id: "{identity}", key: $key, reason: $reason) {{ id done repeated message code }} }}',
                        "cli": f"rspp control {cli} --reason='{why}' {thing}",
                    },
                }
            )
        return made

    def act(self, identity: str) -> dict[str, Any]:
        if self.scene == "viewer":
            raise PermissionError("this needs the permission workers.drain")
        if identity.startswith("approve:"):
            return {
                "id": identity,
                "done": False,
                "repeated": False,
                "message": "Who proposed a change cannot agree to it.",
                "code": "approval_self",
            }
        repeated = identity in self.taken
        self.taken.add(identity)
        return {
            "id": identity,
            "done": True,
            "repeated": repeated,
            "message": "Done before; nothing was done again." if repeated else "Done, and on record.",
            "code": "",
        }

    def journal(self, after: int = 0, surface: str | None = None, first: int = 100) -> dict[str, Any]:
        oldest = self.records[0]["sequence"] if self.records else 1
        found = [
            one for one in self.records if one["sequence"] > after and surface in (None, one["surface"])
        ][:first]
        last = self.records[-1]["sequence"] if self.records else 0
        return {
            "items": found,
            "next": found[-1]["sequence"] if found else last,
            "last": last,
            "compacted": 0 < after < oldest - 1,
            "oldest": oldest,
        }

    def status(self) -> dict[str, Any]:
        if self.scene == "viewer":
            raise PermissionError("workers.read is needed for this, everywhere")
        each = []
        for name, _, __, coverage in tables.SURFACES:
            mine = [one["sequence"] for one in self.records if one["surface"] == name]
            fell = self.bad and name == "rollouts"
            each.append(
                {
                    "surface": name,
                    "declared": coverage,
                    "coverage": "watch" if fell else coverage,
                    "records": len(mine),
                    "lastSequence": mine[-1] if mine else 0,
                    "watched": len(mine) + (2 if fell else 0),
                    "uncovered": 2 if fell else 0,
                    "why": "a watch saw 2 changes that the journal did not" if fell else "",
                }
            )
        return {
            "writable": True,
            "problem": "",
            "records": len(self.records),
            "oldest": self.records[0]["sequence"] if self.records else 1,
            "last": self.sequence if self.records else 0,
            "bytes": 412 * len(self.records),
            "surfaces": each,
        }

    def load(self) -> dict[str, Any]:
        if self.empty:
            return {
                "sessions": 0,
                "capacity": 0,
                "degraded": 0,
                "turnsPerMinute": 0,
                "workers": 0,
                "workersReady": 0,
                "answer": shapes.point("answer", None, None, None, 0),
                "stages": [],
                "interruptStopMs": shapes.point("interrupt_stop", None, None, None, 0),
            }
        live = 142 + int(18 * math.sin(time.time() / 25))
        return {
            "sessions": live,
            "capacity": 320,
            "degraded": 3 if self.bad else 0,
            "turnsPerMinute": 611 + live % 37,
            "workers": 4,
            "workersReady": 2 if self.bad else 4,
            "answer": shapes.point("answer", 834, 1_371, 2_010, 18_402),
            "stages": [shapes.point(*one, 18_402) for one in tables.STAGES],
            "interruptStopMs": shapes.point("interrupt_stop", 38, 71, 112, 2_107),
        }

    def providers(self) -> list[dict[str, Any]]:
        if self.empty:
            return []
        names = (
            "name",
            "modality",
            "circuit",
            "level",
            "availability",
            "p50Ms",
            "p95Ms",
            "calls",
            "failures",
            "price",
        )
        made = [dict(zip(names, one, strict=True)) for one in tables.PROVIDERS]
        for one in made:
            if not self.bad:
                one |= {"circuit": "closed", "level": "OK"}
            one |= {
                "state": {"OK": "healthy", "DEGRADED": "degraded"}.get(one["level"], "failing"),
                "workers": 4 if one["level"] == "OK" else 3,
                "reason": ""
                if one["level"] == "OK"
                else "circuit_open"
                if one["level"] == "FAILED"
                else "error_rate",
            }
        return made

    def work(self) -> list[dict[str, Any]]:
        if self.scene != "trouble":
            return []
        return [
            shapes.row(
                "runtime_work_session",
                "release-0.1.0",
                "stopped",
                "DEGRADED",
                "work_stopped",
                "release-0.1.0 stopped at prove: a gate is red. It requires: Show a green gate",
                self.began - 7_200_000,
                {"kind": "release", "step": "prove", "author": "ada@ops", "steps": 12, "steps_done": 6},
            ),
            shapes.row(
                "runtime_work_session",
                "nightly-2026-11-20",
                "done",
                "OK",
                "",
                "",
                self.began - 60_000_000,
                {"kind": "nightly", "step": "", "author": "ada@ops", "steps": 9, "steps_done": 9},
            ),
        ]

    def sessions(
        self, state: str | None = None, text: str | None = None, first: int = 50, **_: Any
    ) -> dict[str, Any]:
        items = [] if self.empty else [shapes.session_item(number, self.began) for number in range(40)]
        found = [one for one in items if state in (None, one["state"]) and (text or "") in one["id"]]
        return {"items": found[:first], "next": None, "total": len(found)}

    def session(self, tenant: str, identity: str) -> dict[str, Any] | None:
        item = next(
            (one for one in self.sessions()["items"] if (one["tenant"], one["id"]) == (tenant, identity)),
            None,
        )
        return None if item is None else shapes.session_of(item)

    def pipelines(self) -> list[dict[str, Any]]:
        return (
            []
            if self.empty
            else [shapes.pipeline("voice-support", self.began), shapes.pipeline("simple", self.began)]
        )
