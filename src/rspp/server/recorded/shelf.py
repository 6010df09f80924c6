"""What was read of recordings is kept for a while, so that the second look at a long call costs nothing; all of it is bounded.

    asked -> is what lies there still what was read? -- yes --> kept
                          -- no --> read once for everybody who waits, in a process of its own

A session that goes on is another at each look. It is then read again no sooner than `REST` times as long as reading took:
a call of some minutes is followed in about a second, a long one a little behind, and a machine never reads all the time.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import IO, Any, Final

import msgspec

from rspp.contract.errors import LimitReached, PeerFault
from rspp.host.ports import Clock
from rspp.server.recorded import job as j
from rspp.server.recorded.children import BUSY, Children
from rspp.server.recorded.places import Placed
from rspp.server.recorded.words import TimelineRow
from rspp.timeline.access import Grant
from rspp.timeline.prices import Prices

# As they were encoded: an hour's rows are about 8 MB.
VIEWS_BYTES_MAX: Final = 128 * 1024 * 1024
# An hour at L2, some of it held twice on its way; whoever has more looks at it with `rspp timeline`.
RECORDING_BYTES_MAX: Final = 512 * 1024 * 1024
# Of sound on disk, in files without a name.
SOUNDS_BYTES_MAX: Final = 1024 * 1024 * 1024
# Of what is decoded of one, about: its turns and its transcript.
VIEW_BYTES: Final = 256 * 1024
REST: Final = 2.0
TOO_LARGE: Final = "recording_too_large"

_ROWS: Final = msgspec.msgpack.Decoder(list[TimelineRow]).decode

# What is there: the run, the entry's revision, and how far each segment goes that is not exported.
Stamp = tuple[str, int, tuple[tuple[int, int], ...]]


class Kept(msgspec.Struct, frozen=True):
    """One view, as of one stamp."""

    stamp: Stamp
    view: j.View
    parts: dict[str, bytes]  # by `job.PARTS`, as they were encoded
    chunks: tuple[bytes, ...]
    at: int  # when reading it began, and how long it took, on the clock's nanoseconds
    took: int

    @property
    def size(self) -> int:
        return sum(map(len, self.chunks)) + sum(map(len, self.parts.values())) + VIEW_BYTES

    def part(self, name: str) -> Any:
        return msgspec.msgpack.decode(self.parts[name])

    def rows(self) -> Iterator[list[TimelineRow]]:
        """Chunk by chunk."""
        yield from map(_ROWS, self.chunks)

    def chunk(self, number: int) -> list[TimelineRow]:
        return _ROWS(self.chunks[number])


class Heard(msgspec.Struct, frozen=True):
    """The sound of one recording: its sides, and a file of each."""

    stamp: Stamp
    sides: tuple[j.Side, ...]
    files: tuple[IO[bytes], ...]
    sizes: tuple[int, ...]

    def close(self) -> None:
        for file in self.files:
            file.close()

    def opened(self, side: str) -> tuple[int, int] | None:
        """A descriptor of the caller's own, and the size; None for a side that is not there. To be closed by the caller."""
        for one, file, size in zip(self.sides, self.files, self.sizes, strict=True):
            if one.side == side:
                if file.closed:
                    raise LimitReached(
                        BUSY, "it made room for another session's sound a moment ago; ask again"
                    )
                return os.dup(file.fileno()), size
        return None


def stamp_of(placed: Placed) -> Stamp:
    found = placed.found
    local = tuple((one.number, one.size) for one in found.local)
    return (found.entry.run, found.revision, local)


def sight_of(placed: Placed, grant: Grant) -> tuple[str, ...]:
    """Everything that what is seen depends on, beside what lies there: who asks does not count, and why."""
    classes = ",".join(sorted(grant.classes))
    return (
        grant.tenant_id,
        placed.found.key,
        placed.found.entry.run,
        grant.fidelity.value,
        classes,
        grant.policy,
    )


class Shelf:
    """The views and sounds of one server."""

    def __init__(
        self, children: Children, clock: Clock, prices: Callable[[], Prices | None] = lambda: None
    ) -> None:
        self._children, self._clock, self._prices = children, clock, prices
        self._views: OrderedDict[tuple[str, ...], Kept] = OrderedDict()  # bounded: VIEWS_BYTES_MAX
        self._sounds: OrderedDict[tuple[str, ...], Heard] = OrderedDict()  # bounded: SOUNDS_BYTES_MAX
        self._reading: dict[
            tuple[str, ...], asyncio.Task[object]
        ] = {}  # bounded: by the children's waiting_max

    # ---- views -----------------------------------------------------------------------------------------------------

    async def view(self, placed: Placed, grant: Grant) -> Kept:
        """The view as of now; raises PeerFault or LimitReached where it cannot be had."""
        sight, stamp = sight_of(placed, grant), stamp_of(placed)
        kept = self._views.get(sight)
        if kept is not None and kept.stamp == stamp:
            self._views.move_to_end(sight)
            return kept
        asked_at = self._clock.now()
        while True:
            made = await self._once(("view", *sight), lambda: self._read_view(placed, grant, stamp))
            assert isinstance(made, Kept)
            # Another's reading may have begun before what this one asks for was there: the last word of a call, say.
            if made.stamp == stamp or made.at >= asked_at:
                return made

    async def _read_view(self, placed: Placed, grant: Grant, stamp: Stamp) -> object:
        before = self._views.get(sight_of(placed, grant))
        if before is not None and placed.live:
            due = before.at + int((1 + REST) * before.took)
            await asyncio.sleep(max(0, due - self._clock.now()) / 1e9)
        began = self._clock.now()
        job, parts = await self.job(j.Kind.VIEW, [(placed, grant)], again=not placed.live)
        first, *more = await self._children.ask(job, parts)
        named = dict(zip(j.PARTS, more, strict=False))
        took = self._clock.now() - began
        kept = Kept(stamp, j.VIEW(first), named, tuple(more[len(j.PARTS) :]), began, took)
        sight = sight_of(placed, grant)
        self._views[sight] = kept
        self._views.move_to_end(sight)
        while len(self._views) > 1 and sum(one.size for one in self._views.values()) > VIEWS_BYTES_MAX:
            self._views.popitem(last=False)
        return kept

    # ---- sound -----------------------------------------------------------------------------------------------------

    async def sound(self, placed: Placed, grant: Grant) -> Heard:
        """The sound of a session that is over."""
        sight, stamp = sight_of(placed, grant), stamp_of(placed)
        heard = self._sounds.get(sight)
        if heard is not None and heard.stamp == stamp:
            self._sounds.move_to_end(sight)
            return heard
        made = await self._once(("sound", *sight), lambda: self._read_sound(placed, grant, stamp))
        assert isinstance(made, Heard)
        return made

    async def _read_sound(self, placed: Placed, grant: Grant, stamp: Stamp) -> object:
        job, parts = await self.job(j.Kind.SOUND, [(placed, grant)])
        first, *wavs = await self._children.ask(job, parts)
        files = await asyncio.to_thread(_put_away, wavs)
        heard = Heard(stamp, tuple(j.SIDES(first)), tuple(files), tuple(map(len, wavs)))
        sight = sight_of(placed, grant)
        before = self._sounds.pop(sight, None)
        if before is not None:
            before.close()
        self._sounds[sight] = heard
        while (
            len(self._sounds) > 1 and sum(sum(one.sizes) for one in self._sounds.values()) > SOUNDS_BYTES_MAX
        ):
            self._sounds.popitem(last=False)[1].close()
        return heard

    # ---- reading ---------------------------------------------------------------------------------------------------

    async def job(
        self, kind: j.Kind, wanted: Sequence[tuple[Placed, Grant]], *, again: bool = False
    ) -> tuple[j.Job, list[list[bytes]]]:
        """A job, and the bytes that go with it; raises LimitReached for more than is read in one piece."""
        sources, parts = [], []
        for placed, grant in wanted:
            _fits(placed)
            pieces = await placed.library.pieces(placed.found)
            parts.append([data for _, data in pieces.values()])
            told = tuple(j.Piece(first, last, len(data)) for first, (last, data) in pieces.items())
            sources.append(j.Source(name=placed.found.name, grant=grant, pieces=told))
        return j.Job(kind=kind, sources=tuple(sources), again=again, prices=self._prices()), parts

    async def ask(self, kind: j.Kind, wanted: Sequence[tuple[Placed, Grant]]) -> bytes:
        """The one blob that is the answer to a replay or a comparison."""
        job, parts = await self.job(kind, wanted)
        (answer,) = await self._children.ask(job, parts)
        return answer

    async def _once(self, key: tuple[str, ...], work: Callable[[], Coroutine[Any, Any, object]]) -> object:
        """What several wait for is done once, and goes on if one of them goes away."""
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.get_running_loop().create_task(work())
            task.add_done_callback(lambda done: self._over(key, done))
        return await asyncio.shield(task)

    def _over(self, key: tuple[str, ...], task: asyncio.Task[object]) -> None:
        self._reading.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waited was told; if nobody is left, nobody misses it

    async def close(self) -> None:
        """Let go of everything that was read, and of what is being read."""
        tasks = list(self._reading.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for heard in self._sounds.values():
            heard.close()
        self._sounds.clear()
        self._views.clear()


def _fits(placed: Placed) -> None:
    size = placed.found.entry.size + sum(one.size for one in placed.found.local)
    if size > RECORDING_BYTES_MAX:
        message = f"the recording has {size} bytes, and a page reads at most {RECORDING_BYTES_MAX}: rspp timeline reads it"
        raise LimitReached(TOO_LARGE, message)


def _put_away(wavs: Sequence[bytes]) -> list[IO[bytes]]:
    """Files without a name: they are gone with this process, however it ends."""
    files: list[IO[bytes]] = []
    try:
        for wav in wavs:
            file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it is kept open, for it has no name
            files.append(file)
            file.write(wav)
            file.flush()
    except OSError as error:
        for file in files:
            file.close()
        raise PeerFault("sound_not_kept", f"the sound cannot be put on disk: {error.strerror}") from error
    return files
