"""Sessions of every kind, for tests that look at all that a kernel says: each is a function that gives a driven rig."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from rspp.contract.event import NS_PER_MS, Audio, Text
from rspp.contract.words import CancelMode, CancelScope, ConnectionState, OutcomeClass
from rspp.kernel import inputs as i
from rspp.kernel.hosting import Context
from rspp.kernel.snapshot import Durable, Quota
from rspp.spec import compile_text, voice_template
from rspp.testing.rig import FRAME, Rig, snapshot

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
LATER: Final = 900_000 * NS_PER_MS


class Silent:
    """A node that takes everything and says nothing."""

    def on_event(self, ctx: Context, port: str, event: object) -> None:
        ctx.metric("seen", 1)
        ctx.note("seen")


def spoken() -> Rig:
    """Voice, an answer that is heard and reported, then an interruption, a backchannel and silence."""
    rig = Rig(debug=True)
    rig.connect()
    rig.say("what time is it")
    rig.answer("It is ten.", ms=600)
    for what, heard in (("accepted", 0), ("started", 0), ("position", 300), ("completed", 600)):
        rig.give(i.DeliveryReported(what, "s1/turn-1", heard))
        rig.advance(300)
    rig.say("and tomorrow")
    rig.tokens("The same. ", "Or later. ")
    rig.speech(2_000, finish=False)
    rig.voice(200)
    rig.hush(1_200)
    rig.voice(600)
    rig.partial("no wait stop")
    rig.hush(2_000)
    rig.advance(5_000)
    return rig


def typed() -> Rig:
    """Typed words, a queue, digits, duplicates, unknown and malformed messages, cancels of every scope."""
    rig = Rig(voice_template(overlap="queue", unknown_events="pass_through"))
    rig.connect()
    rig.type("one", idempotency_key="k")
    rig.type("one", idempotency_key="k")
    rig.type("two")
    rig.tokens("A. ", "B. ")
    rig.control("cancel", scope=CancelScope.CALL, target=rig.invocations["tts"].call_id, mode=CancelMode.SOFT)
    rig.control("cancel", scope=CancelScope.NODE, target="llm")
    rig.control("cancel", scope=CancelScope.TURN, reason="user_cancel")
    rig.cancel_acks()
    rig.control("digit", value="5")
    rig.control("digit", value="x")
    rig.control("dance")
    rig.control("cancel", scope=CancelScope.SESSION)
    rig.control("cancel", scope=CancelScope.SESSION)
    rig.give(i.UnknownReceived("acme.wave", 900))
    rig.give(i.UnknownReceived("core_thing", 901, core=True))
    rig.give(i.MalformedReceived("truncated", "payload", "ends too early"))
    rig.give(i.DeliveryReported("started", "s1/turn-1"))
    rig.give(i.CreditGranted("no->edge", 5))
    rig.advance(3_000)
    return rig


def out_of_order() -> Rig:
    """Audio with a hole, stale epochs in and out, clocks that jump, text that goes back."""
    rig = Rig()
    rig.connect()
    for sequence in (0, 1, 3, 4, 5, 6, 2):
        rig.give(i.AudioReceived(Audio(FRAME, 320, sequence * 320), sequence))
    rig.give(i.AudioReceived(Audio(FRAME, 320, 0), 9, 6))
    rig.give(i.AudioReceived(Audio(FRAME, 320, 0, 12_345), 9))
    rig.chunk("stt", Text("b", 0, 2, role="user"))
    rig.chunk("stt", Text("a", 0, 1, role="user"))
    rig.type("stale", epoch=8)
    rig.give(i.ClockObserved(rig.kernel.desk.timebase.wall(rig.now) + 500 * NS_PER_MS, 320 * 60))
    rig.give(i.ClockObserved(0, 0))
    return rig


def failing() -> Rig:
    """Retries, switches, circuits, a lost voice, an apology, a budget that runs out."""
    rig = Rig(voice_template(error_reply={"text": "Sorry?"}, calls={"circuit_failures": 2}))
    rig.connect()
    for _ in range(3):
        rig.type("hello")
        for _ in range(4):
            if "llm" in rig.invocations and rig.kernel.turn() is not None:
                rig.fail("llm", OutcomeClass.OVERLOAD, retryable=True, circuit=True)
                rig.advance(300)
        rig.advance(20_000)
    rig.type("again")
    rig.tokens("Fine. ")
    rig.fail("tts", OutcomeClass.BLOCKED)
    rig.fail("tts", OutcomeClass.BLOCKED)
    rig.finish("llm", tokens=9)
    rig.fail("stt")
    rig.advance(30_000)
    return rig


def capped() -> Rig:
    rig = Rig(voice_template(caps={"characters_max": 5, "tokens_max": 4}))
    rig.connect()
    rig.type("hello")
    rig.tokens("Too long to be said. ")
    rig.finish("llm", tokens=99)
    rig.speech(100)
    rig.advance(3_000)
    return rig


def refused() -> Rig:
    """No view, no room, no rate, no pool."""
    rig = Rig(snapshot=None)
    rig.connect()
    rig.type("hello")
    rig.advance(3_000)
    rig.give(i.SnapshotPublished(snapshot(2, rig.now, capacity="reject")))
    rig.type("hello")
    rig.give(i.SnapshotPublished(snapshot(1, rig.now)))
    rig.give(i.SnapshotPublished(snapshot(3, rig.now, quota=Quota(turns_per_minute=1))))
    rig.type("hello")
    rig.give(i.PoolChanged("closed"))
    rig.tokens("Nobody speaks this. ")
    rig.type("hello")
    rig.advance(3_000)
    return rig


def moved() -> Rig:
    """Rotated, renewed, forged, moved; routing views and durable state, fresh and stale."""
    rig = Rig(resume=Durable(revision=3, values={"history": [["user", "hi"]]}))
    rig.connect()
    rig.type("hello")
    rig.tokens("Yes. ")
    rig.speech(100)
    rig.give(i.LeaseChanged("renewed", 7, None, LATER))
    rig.give(i.LeaseChanged("issued", 7, "lease-7", LATER))
    rig.give(i.LeaseChanged("rotated", 8, "lease-8", LATER))
    rig.give(i.LeaseChanged("rotated", 5, "forged", LATER))
    rig.give(i.RoutingViewPublished(2, 8, "here"))
    rig.give(i.RoutingViewPublished(1, 8, "there"))
    rig.give(i.DurableAttached(Durable(revision=99, values={}, age_ms=1 << 30), 8))
    rig.give(i.DeliveryReported("started", "s1/turn-1", 0, 7))
    rig.type("again")
    for phase in ("start", "handoff", "finish"):
        rig.give(i.MigrationChanged(phase, 9))
    rig.advance(30_000)
    return rig


def revoked_while_connecting() -> Rig:
    rig = Rig()
    rig.give(i.LeaseChanged("revoked", 7))
    return rig


def cut() -> Rig:
    """A line that does everything a line can do, and a session that is closed."""
    rig = Rig()
    rig.give(i.ConnectionChanged(ConnectionState.STALL))
    rig.connect()
    rig.type("hello")
    rig.answer("A long answer.", ms=3_000)
    states = ("STALL", "RECONNECTING", "CONNECTED", "SILENCE", "DISCONNECTED")
    for state in states:
        rig.give(i.ConnectionChanged(ConnectionState[state]))
        rig.advance(200)
    rig.give(i.ConnectionChanged(ConnectionState.ENDED))
    rig.advance(40_000)
    return rig


def unrecorded() -> Rig:
    """Pressure, then a recorder that fails."""
    rig = Rig(
        voice_template(
            recording_policy={"level": "L2"},
            recording={"upgrades_permitted": True, "stability_window_ms": 100},
        )
    )
    rig.connect()
    rig.give(i.RecorderPressed(0.0, 9_000))
    rig.give(i.RecorderPressed(0.0, 9_000))
    rig.give(i.RecorderPressed(0.0, 0))
    rig.advance(500)
    rig.type("hello")
    rig.answer("Yes.", ms=100)
    rig.advance(500)
    rig.stores_evidence = False
    rig.type("hello")
    rig.answer("Yes.", ms=100)
    rig.advance(500)
    return rig


def routed() -> Rig:
    """Merges, selects, conditions and digits, and nodes that fail or take too long."""
    graph = compile_text((EXAMPLES / "select-merge.yaml").read_text(encoding="utf-8"))
    rig = Rig(graph, {"dtmf_collector": lambda config: Silent()})
    rig.connect()
    rig.give(i.FactChanged("language", "en"))
    rig.give(i.FactChanged("language", "fr"))
    rig.control("digit", value="1")
    rig.type("hello")
    rig.give(i.NodeMeasured("segmenter", 900, 900))
    rig.give(i.NodeRaised("segmenter", "Killed"))
    rig.give(i.NodeRaised("digits", "Killed"))
    rig.advance(2_000)
    rig.give(i.CircuitReset("llm-a"))
    rig.give(i.DebugSwitched(on=True))
    rig.control("digit", value="2")
    rig.give(i.CloseRequested("bye"))
    rig.advance(20_000)
    return rig


SESSIONS: Final[tuple[Callable[[], Rig], ...]] = (
    spoken,
    typed,
    out_of_order,
    failing,
    capped,
    refused,
    moved,
    revoked_while_connecting,
    cut,
    unrecorded,
    routed,
)
