"""What was said and heard, as one recording to listen to: the caller on the left, the assistant on the right, each at its time.

The caller's frames stand where their stream says, from the moment the first came. The assistant's are sent ahead of time:
they stand where the caller heard them, from the start of the turn's playback, without its pauses, up to where it was cut.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS, Audio
from rspp.contract.signals import SignalName
from rspp.contract.words import Codec
from rspp.kernel.inputs import AudioReceived
from rspp.kernel.trace import Item
from rspp.media.level import mean_square
from rspp.media.mulaw import encode_mulaw
from rspp.media.resample import resample
from rspp.timeline.story import Sounding, Story
from rspp.timeline.waterfall import Marks

RATE: Final = 16_000
LEVEL_MS: Final = 50
NS_PER_S: Final = 1_000_000_000
# What is said to be of another rate, or to lie behind the session's end or this, is not laid out: a recording may lie.
RATES: Final = frozenset({8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000})
SECONDS_MAX: Final = 3_600
AFTER_END_NS: Final = 60 * NS_PER_S


class Track(msgspec.Struct, frozen=True):
    """PCM16 mono at `RATE`, from the session's first moment."""

    pcm: bytes

    @property
    def levels(self) -> list[int]:
        """How loud it is, for each `LEVEL_MS`, from 0 to 100."""
        size = 2 * RATE * LEVEL_MS // 1000
        return [
            min(100, round((mean_square(self.pcm[at : at + size]) ** 0.5) / 80))
            for at in range(0, len(self.pcm), size)
        ]


class Wav(msgspec.Struct, frozen=True):
    """A file's bytes, and how much of the recording is in it."""

    data: bytes
    seconds: float
    of_seconds: float
    form: str


def caller_track(story: Story) -> Track:
    """What the caller said."""
    placed: list[tuple[int, Audio]] = []
    first: tuple[int, Audio] | None = None
    for at, received in story.inputs.values():
        if type(received) is AudioReceived and _plain(received.audio):
            audio = received.audio
            # A stream that begins again (another connection) has a new place.
            if first is None or audio.sample_index < first[1].sample_index:
                first = (at - audio.samples * NS_PER_S // audio.rate, audio)
            offset = (audio.sample_index - first[1].sample_index) * NS_PER_S // audio.rate
            placed.append((first[0] + offset - story.began_at, audio))
    return _laid([(at, audio.data, audio.rate) for at, audio in placed], story)


def _plain(audio: Audio) -> bool:
    return audio.codec is Codec.PCM16 and audio.channels == 1 and audio.samples > 0 and audio.rate in RATES


def assistant_track(story: Story, frames: Sequence[Sounding], turns: Mapping[str, Marks]) -> Track:
    """What the caller heard of the assistant."""
    by_turn: dict[str | None, list[Sounding]] = {}
    for frame in frames:
        if frame.rate not in RATES:
            continue
        by_turn.setdefault(frame.turn, []).append(frame)
    placed: list[tuple[int, bytes, int]] = []
    for turn_id, sent in by_turn.items():
        marks = turns.get(turn_id or "")
        began = sent[0].at if marks is None or marks.played_at is None else marks.played_at
        stops = [one for one in story.items if one.turn == turn_id and one.what == "signal"]
        placed += _heard(sent, began, _pauses(stops), _cut(stops))
    return _laid([(at - story.began_at, data, rate) for at, data, rate in placed], story)


def _pauses(signals: Iterable[Item]) -> list[tuple[int, int]]:
    """When the playback waited, and for how long."""
    found: list[tuple[int, int]] = []
    since: int | None = None
    for one in signals:
        if one.name == SignalName.PLAYBACK_PAUSED and since is None:
            since = one.at
        elif one.name == SignalName.PLAYBACK_RESUMED and since is not None:
            found.append((since, one.at - since))
            since = None
    return found


def _cut(signals: Iterable[Item]) -> int | None:
    """How many milliseconds of the turn were heard, if the rest was thrown away."""
    for one in signals:
        if one.name == SignalName.PLAYBACK_CANCELLED:
            return int((one.facts.get("detail") or {}).get("heard_ms", 0))
    return None


def _heard(
    sent: Sequence[Sounding], began: int, pauses: Sequence[tuple[int, int]], heard_ms: int | None
) -> list[tuple[int, bytes, int]]:
    """Frames one after the other; none before it was sent."""
    placed: list[tuple[int, bytes, int]] = []
    lead = max(0, began - sent[0].at)
    waiting = list(pauses)
    at, left = began, heard_ms * NS_PER_MS if heard_ms is not None else None
    for frame in sent:
        data, samples = frame.data, len(frame.data) // 2
        if left is not None:
            samples = min(samples, left * frame.rate // NS_PER_S)
            data = data[: 2 * samples]
        if not samples:
            continue
        at = max(at, frame.at + lead) if frame.at + lead - at > 20 * NS_PER_MS else at
        while waiting and waiting[0][0] <= at:
            at += waiting.pop(0)[1]
        placed.append((at, data, frame.rate))
        length = samples * NS_PER_S // frame.rate
        at += length
        left = None if left is None else left - length
    return placed


def _laid(placed: Sequence[tuple[int, bytes, int]], story: Story) -> Track:
    """Sounds at their times; runs without a hole are resampled in one piece, so that no seam is heard."""
    out = bytearray()
    run, run_at, run_rate, ends = bytearray(), 0, RATE, 0
    last = min(story.ended_at - story.began_at + AFTER_END_NS, SECONDS_MAX * NS_PER_S)
    for at, data, rate in placed:
        if not -NS_PER_S <= at <= last:
            continue
        if run and (rate != run_rate or abs(at - ends) > NS_PER_MS):
            _lay(out, run_at, bytes(run), run_rate)
            run = bytearray()
        if not run:
            run_at, run_rate, ends = at, rate, at
        run += data[: len(data) // 2 * 2]
        ends += len(data) // 2 * NS_PER_S // rate
    if run:
        _lay(out, run_at, bytes(run), run_rate)
    return Track(bytes(out))


def _lay(out: bytearray, at: int, pcm: bytes, rate: int) -> None:
    start = max(0, at * RATE // NS_PER_S) * 2
    sound = resample(pcm, rate, RATE)
    if len(out) < start + len(sound):
        out.extend(bytes(start + len(sound) - len(out)))
    out[start : start + len(sound)] = sound


def stereo_wav(caller: Track, assistant: Track, bytes_max: int) -> Wav:
    """Both sides as a WAV of at most so many bytes: in the best form that holds all of it, else the beginning of it."""
    samples = max(len(caller.pcm), len(assistant.pcm)) // 2
    seconds = samples / RATE
    sides = [track.pcm.ljust(2 * samples, b"\0") for track in (caller, assistant)]
    if 4 * samples <= bytes_max:
        return Wav(_wav(_interleaved(sides, "h"), 1, RATE, 2), seconds, seconds, "PCM, 16 kHz")
    if 2 * samples <= bytes_max:
        laws = [encode_mulaw(side) for side in sides]
        return Wav(_wav(_interleaved(laws, "B"), 7, RATE, 1), seconds, seconds, "mu-law, 16 kHz")
    kept = min(samples, bytes_max) // 2 * 2
    laws = [encode_mulaw(resample(side[: 2 * kept], RATE, RATE // 2)) for side in sides]
    data = _wav(_interleaved(laws, "B"), 7, RATE // 2, 1)
    return Wav(data, kept / RATE, seconds, "mu-law, 8 kHz")


def _interleaved(sides: Sequence[bytes], code: str) -> bytes:
    both = array(code, bytes(sum(map(len, sides))))
    both[0::2], both[1::2] = array(code, sides[0]), array(code, sides[1])
    return both.tobytes()


def _wav(data: bytes, form: int, rate: int, width: int) -> bytes:
    """A stereo file; mu-law needs the extended head and the count of samples."""
    head = struct.pack("<HHIIHHH", form, 2, rate, rate * 2 * width, 2 * width, 8 * width, 0)
    fact = struct.pack("<4sII", b"fact", 4, len(data) // (2 * width))
    body = struct.pack("<4s4sI", b"WAVE", b"fmt ", len(head)) + head + fact
    body += struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body
