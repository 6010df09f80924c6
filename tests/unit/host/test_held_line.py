"""What a caller is told is committed is in the store by then; what is said later comes later; sound never waits."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from rspp.contract.errors import PeerFault
from rspp.contract.event import Audio, Event, Scope, Signal
from rspp.contract.words import ConnectionState, EventKind, PayloadClass
from rspp.host import held_line
from rspp.host.durable import StateWriter
from rspp.host.ports import Line
from rspp.kernel import inputs as i
from rspp.kernel.effects import SaveState
from rspp.kernel.memory import CONVERSATION
from rspp.testing.clock import run_virtual
from tests.unit.host.stage import Caller, Stage, VirtualClock, bootstrap_of, on_stage
from tests.unit.host.test_durable import SlowStore, running, save, stopped

SCOPE = Scope(session_id="s1", tenant_id="t", pipeline_version="v1", epoch=1, turn_id="turn-1")


def told(name: str) -> Event:
    return Event(SCOPE, EventKind.CONTROL, 1, 0, Signal(name, "tests"), PayloadClass.METADATA)


def sound() -> Event:
    return Event(SCOPE, EventKind.AUDIO, 1, 0, Audio(bytes(640), 320, 0), PayloadClass.AUDIO_RAW)


class Ear:
    """A line that remembers what came, and when."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.raises = False

    def send(self, event: Event) -> None:
        self.heard.append("audio")

    def announce(self, event: Event) -> None:
        if self.raises:
            raise RuntimeError("this line breaks its word")
        assert isinstance(event.payload, Signal)
        self.heard.append(event.payload.signal)

    def pause(self, turn_id: str) -> None:
        self.heard.append("pause")

    def resume(self, turn_id: str) -> None:
        self.heard.append("resume")

    def stop(self, turn_id: str, keep_ms: int) -> None:
        self.heard.append("stop")

    def close(self, reason: str) -> None:
        self.heard.append(f"closed: {reason}")


def step(line: Line, writer: StateWriter, revision: int = 1, *, epoch: int = 1) -> None:
    """A turn's end as a kernel says it: first the words, then what is to be kept."""
    line.announce(told("commit"))
    line.announce(told("close"))
    writer.put("t", "s1", save("history", revision, revision, epoch))
    writer.put("t", "s1", save("next_turn", revision, revision, epoch))


def test_a_turns_end_is_told_when_its_state_is_kept_and_what_follows_is_told_after_it() -> None:
    async def main() -> None:
        store, ear = SlowStore(0.05), Ear()
        writer = StateWriter(store)
        task = await running(writer)
        line = writer.hold("t", "s1", ear)
        line.announce(told("turn_open"))
        assert ear.heard == ["turn_open"]
        step(line, writer)
        line.announce(told("playback_completed"))
        line.send(sound())
        line.pause("turn-1")
        line.resume("turn-1")
        line.stop("turn-1", 0)
        await asyncio.sleep(0.15)
        assert ear.heard == ["turn_open", "audio", "pause", "resume", "stop"]
        await asyncio.sleep(0.1)
        assert store.saved("next_turn").value == 1
        assert ear.heard[5:] == ["commit", "close", "playback_completed"]
        line.announce(told("turn_open"))
        assert ear.heard[-1] == "turn_open"
        await stopped(task)

    run_virtual(main())


def test_each_turns_end_waits_for_its_own_state() -> None:
    async def main() -> None:
        store, ear = SlowStore(0.05), Ear()
        writer = StateWriter(store)
        task = await running(writer)
        line = writer.hold("t", "s1", ear)
        step(line, writer, 1)
        await asyncio.sleep(0.12)
        line.announce(told("turn_open"))
        step(line, writer, 2)
        seen: list[tuple[object, int]] = []
        for _ in range(80):
            await asyncio.sleep(0.01)
            kept = await store.keys("state")
            seen.append((store.saved("history").value if kept else 0, ear.heard.count("commit")))
        assert all(commits <= int(str(value)) for value, commits in seen)
        assert ear.heard == ["commit", "close", "turn_open", "commit", "close"]
        await stopped(task)

    run_virtual(main())


def test_a_store_that_fails_for_a_while_delays_and_one_that_stays_away_is_not_waited_for() -> None:
    async def main() -> None:
        store, ear = SlowStore(), Ear()
        store.before = [PeerFault("store_unreachable", "no leader")] * 3
        writer = StateWriter(store)
        task = await running(writer)
        line = writer.hold("t", "s1", ear)
        step(line, writer, 1)
        await asyncio.sleep(1.4)
        assert ear.heard == []
        await asyncio.sleep(0.2)
        assert ear.heard == ["commit", "close"]
        store.before = [PeerFault("store_unreachable", "no quorum")] * 10_000
        step(line, writer, 2)
        await asyncio.sleep(held_line.HOLD_S - 0.1)
        assert len(ear.heard) == 2
        await asyncio.sleep(0.2)
        assert ear.heard[2:] == ["commit", "close"]
        assert isinstance(line, held_line.HeldLine)
        assert (line.told_unsaved, line.withheld) == (2, 0)
        store.before.clear()
        step(line, writer, 3)
        await asyncio.sleep(1)
        assert (ear.heard[4:], line.told_unsaved) == (["commit", "close"], 2)
        await stopped(task)

    run_virtual(main())


def test_a_store_that_keeps_up_is_waited_for_however_long_turns_follow_each_other() -> None:
    """Each turn's end is told while the next one's state is being written: something waits all the time."""

    async def main() -> None:
        store, ear = SlowStore(0.4), Ear()
        writer = StateWriter(store)
        task = await running(writer)
        line = writer.hold("t", "s1", ear)
        for revision in range(1, 31):
            step(line, writer, revision)
            await asyncio.sleep(0.7)
        await asyncio.sleep(5)
        assert ear.heard == ["commit", "close"] * 30
        assert isinstance(line, held_line.HeldLine)
        assert line.told_unsaved == 0
        await stopped(task)

    run_virtual(main())


def test_beyond_the_bound_nothing_waits_and_nothing_is_lost_or_out_of_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(held_line, "ITEMS_MAX", 4)

    async def main() -> None:
        store, ear = SlowStore(60), Ear()
        writer = StateWriter(store)
        task = await running(writer)
        line = writer.hold("t", "s1", ear)
        step(line, writer)
        line.announce(told("turn_open"))
        assert ear.heard == []
        line.announce(told("speech_started"))
        assert ear.heard == ["commit", "close", "turn_open", "speech_started"]
        assert isinstance(line, held_line.HeldLine)
        assert line.told_unsaved == 2
        await stopped(task)

    run_virtual(main())


def test_a_turn_that_a_later_owner_does_not_have_is_never_told_as_committed() -> None:
    async def main() -> None:
        store, ear = SlowStore(), Ear()
        old, new = StateWriter(store), StateWriter(store)
        task = await running(old)
        line = old.hold("t", "s1", ear)
        step(line, old, 1)
        await old.flushed("t", "s1")
        new.put("t", "s1", save("history", "new", 2, 2))
        assert await new.flush(5) == 0
        for revision in (3, 4):  # before it knows, and when it does
            step(line, old, revision)
            line.announce(told("deauthorized_drain"))
            await asyncio.sleep(0.5)
        assert ear.heard == ["commit", "close", "deauthorized_drain", "deauthorized_drain"]
        assert isinstance(line, held_line.HeldLine)
        assert line.withheld == 4
        await stopped(task)

    run_virtual(main())


def test_a_line_that_comes_back_is_told_what_waited_and_the_end_comes_last() -> None:
    async def main() -> None:
        store, before, after = SlowStore(0.05), Ear(), Ear()
        writer = StateWriter(store)
        task = await running(writer)
        former = writer.hold("t", "s1", before)
        step(former, writer)
        line = writer.hold("t", "s1", after)
        former.close("taken_over")
        assert before.heard == ["closed: taken_over"]
        line.close("drained")
        assert after.heard == []
        await asyncio.sleep(0.3)
        assert before.heard == ["closed: taken_over"]
        assert after.heard == ["commit", "close", "closed: drained"]
        await stopped(task)

    run_virtual(main())


def test_a_line_that_breaks_while_it_is_told_is_closed() -> None:
    async def main() -> None:
        store, ear = SlowStore(), Ear()
        writer = StateWriter(store)
        task = await running(writer)
        line = writer.hold("t", "s1", ear)
        ear.raises = True
        step(line, writer)
        line.announce(told("turn_open"))
        await asyncio.sleep(0.5)
        assert ear.heard == ["closed: runtime_internal_error"]
        await stopped(task)

    logging.getLogger("rspp.host").disabled = True
    try:
        run_virtual(main())
    finally:
        logging.getLogger("rspp.host").disabled = False


def test_a_real_session_tells_its_commit_when_its_conversation_is_kept() -> None:
    """The order of a kernel's effects is what this line lives by: words first, state in the same step."""
    store = SlowStore(0.2)
    writer = StateWriter(store)
    told_at: dict[str, float] = {}

    class Listening(Caller):
        def announce(self, event: Event) -> None:
            super().announce(event)
            if isinstance(event.payload, Signal) and event.payload.signal in ("commit", "close"):
                told_at[event.payload.signal] = asyncio.get_running_loop().time()
                sid = event.scope.session_id
                kept = {key.rpartition("/")[2] for key in store._buckets.get("state", {}) if sid in key}
                assert kept == {CONVERSATION}

    async def scene(stage: Stage) -> None:
        caller: Any = Listening(VirtualClock())
        line = writer.hold("t1", "mine", caller)
        caller.take(stage.host.open(bootstrap_of(session_id="mine"), line))
        caller.give(i.TextReceived("Hello?", 1))
        await caller.until("close")
        assert caller.audio()
        caller.give(i.ConnectionChanged(ConnectionState.ENDED))
        await asyncio.sleep(1)

    on_stage(scene, state=writer)
    assert set(told_at) == {"commit", "close"}


def test_what_no_store_can_keep_delays_nobody() -> None:
    async def main() -> None:
        ear = Ear()
        writer = StateWriter(SlowStore())
        task = await running(writer)
        line = writer.hold("t", "s1", ear)
        line.announce(told("commit"))
        writer.put("t", "s1", SaveState(key="history", value=object(), revision=1, epoch=1))
        await asyncio.sleep(0.1)
        assert ear.heard == ["commit"]
        assert isinstance(line, held_line.HeldLine)
        assert line.told_unsaved == 1
        await stopped(task)

    run_virtual(main())
