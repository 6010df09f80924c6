"""Inputs as they stand in an `Inputs` record: small where they come fifty times a second, exact always.

An entry is one of

    d               the next audio frame: `d` ns after the input before, in everything the frame before goes on
    -1 - d          the kernel was woken
    [d]             the next audio of a call, in everything the audio that a call gave before goes on
    [d, p]          a speech score p
    [d, {...}]      any other input
    [d, {...}, n]   an input with audio of n bytes, which is not here

Audio comes back as silence of the same length, so a kernel decides the same from it; `Sound` records put the real bytes
into its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from rspp.contract.codec import CodecError
from rspp.contract.event import Audio
from rspp.host.ports import Stepped
from rspp.kernel.inputs import (
    AnyInput,
    AudioReceived,
    CallAccepted,
    CallProduced,
    EndOfTurnScored,
    EvidenceStored,
    Input,
    RecorderPressed,
    SpeechScored,
    Woken,
)
from rspp.timeline.records import RECORD_BYTES_MAX, Inputs

Entry = Any
Redact = Callable[[int, int, Input], Input]
_replace: Final = msgspec.structs.replace
# Silence is made of a few bytes of a file: so much of it, each size once, is enough for any call.
SILENCE_BYTES_MAX: Final = 256 * 1024 * 1024
# Inputs that carry nobody's words: nothing of them has to be redacted.
_WORDLESS: Final = frozenset({CallAccepted, EndOfTurnScored, EvidenceStored, RecorderPressed})


def pack(first: int, began: int, batch: Sequence[tuple[int, Input]], redact: Redact) -> Inputs:
    """A run of inputs, whose first is number `first`; it is read without the ones before.

    `redact(step, at, input)` gives the stand-in of those that may carry somebody's words. One loop with its own names: it
    turns a hundred times a second in every session.
    """
    entries: list[Entry] = []
    add = entries.append
    sounds: list[bytes] = []
    hear = sounds.append
    last = began
    # What a frame is that goes on from the one before: where it stands, and what it is like.
    sequence = place = -1
    model: tuple[object, ...] = ()
    given: CallProduced | None = None
    for at, received in batch:
        kind = type(received)
        delta = at - last
        last = at
        if kind is AudioReceived:
            audio: Audio = received.audio  # type: ignore[attr-defined]  # as its type says
            data = audio.data
            hear(data)
            like = (len(data), audio.samples, audio.rate, audio.channels, audio.codec, received.epoch)  # type: ignore[attr-defined]
            if (
                audio.sample_index == place
                and received.transport_sequence == sequence  # type: ignore[attr-defined]
                and like == model
                and delta >= 0
                and not audio.end
            ):
                add(delta)
            else:  # told in full; the next ones may go on from it
                add([delta, _replace(received, audio=_replace(audio, data=b"")), len(data)])
                model = like
            sequence = received.transport_sequence + 1  # type: ignore[attr-defined]
            place = -1 if audio.end else audio.sample_index + audio.samples
        elif kind is SpeechScored:
            add([delta, received.probability])  # type: ignore[attr-defined]
        elif kind is Woken and delta >= 0:
            add(-1 - delta)
        elif kind in _WORDLESS:
            add([delta, received])
        elif kind is CallProduced and type(received.payload) is Audio:  # type: ignore[attr-defined]
            sound: Audio = received.payload  # type: ignore[attr-defined]
            hear(sound.data)
            add(_given(delta, given, received, sound))  # type: ignore[arg-type]
            given = received  # type: ignore[assignment]
        else:
            add([delta, redact(first + len(entries), at, received)])
    joined = b"".join(sounds)
    return Inputs(
        first=first,
        at=began,
        entries=entries,
        audio=len(sounds),
        audio_bytes=len(joined),
        payload=hashlib.sha256(joined).hexdigest() if sounds else None,
    )


def _given(delta: int, before: CallProduced | None, received: CallProduced, sound: Audio) -> Entry:
    """Audio that a call gave: in everything but its bytes what was to come, or told in full."""
    bare = _replace(received, payload=_replace(sound, data=b""))
    if before is not None and isinstance(before.payload, Audio):
        silent = _replace(before, payload=_replace(before.payload, data=b""))
        if len(before.payload.data) == len(sound.data) and bare == _next_given(silent):
            return [delta]
    return [delta, bare, len(sound.data)]


def unpack(record: Inputs, silences: dict[int, bytes] | None = None) -> list[tuple[int, Input]]:
    """The inputs again, audio as silence; raises CodecError if the entries make no sense.

    `silences` are those that were made already, by size: frames of one size share theirs, however many there are.
    """
    silences = {} if silences is None else silences
    inputs: list[tuple[int, Input]] = []
    at = record.at
    frame: AudioReceived | None = None
    given: CallProduced | None = None
    try:
        for entry in record.entries:
            received: Input
            if type(entry) is int:
                if entry < 0:
                    at += -1 - entry
                    received = Woken()
                else:
                    at += entry
                    received = frame = _next(frame)
            else:
                delta = entry[0] if type(entry) is list else None
                if type(delta) is not int:
                    raise ValueError("an entry is a number, or a list that begins with one")
                at += delta
                received = _next_given(given) if len(entry) == 1 else _told(entry, silences)
                if isinstance(received, AudioReceived):
                    frame = received
                elif isinstance(received, CallProduced) and isinstance(received.payload, Audio):
                    given = received
            inputs.append((at, received))
    except (
        msgspec.ValidationError,
        ValueError,
        TypeError,
        IndexError,
        OverflowError,
        RecursionError,
    ) as error:
        raise CodecError("malformed", f"inputs[{record.first + len(inputs)}]", str(error)) from error
    return inputs


def _told(entry: list[Any], silences: dict[int, bytes]) -> Input:
    """An input that stands there in full, or a score."""
    body = entry[1]
    if type(body) is float or type(body) is int:
        return SpeechScored(float(body))
    received: Input = msgspec.convert(body, AnyInput, builtin_types=(bytes,))
    return _silent(received, entry[2], silences) if len(entry) == 3 else received


def _next(frame: AudioReceived | None) -> AudioReceived:
    if frame is None:
        raise ValueError("a frame goes on from none")
    return AudioReceived(_goes_on(frame.audio), frame.transport_sequence + 1, frame.epoch)


def _next_given(before: CallProduced | None) -> CallProduced:
    if before is None or not isinstance(before.payload, Audio):
        raise ValueError("a call's audio goes on from none")
    payload = _goes_on(before.payload)
    return CallProduced(before.call_id, before.attempt, before.sequence + 1, payload, before.port)


def _goes_on(audio: Audio) -> Audio:
    at = audio.sample_index + audio.samples
    return Audio(audio.data, audio.samples, at, audio.rate, audio.channels, audio.codec, audio.end)


def _silent(received: Input, size: int, silences: dict[int, bytes]) -> Input:
    if type(size) is not int or not 0 <= size <= RECORD_BYTES_MAX:
        raise ValueError(f"audio of {size} bytes")
    if sound_of(received) is None:
        raise ValueError("no audio in it")
    if size not in silences:
        if sum(silences) + size > SILENCE_BYTES_MAX:
            raise ValueError(f"more than {SILENCE_BYTES_MAX} bytes of silence")
        silences[size] = bytes(size)
    return with_sound(received, silences[size])


def with_sound(received: Input, data: bytes) -> Input:
    """The input with these bytes in the place of its silence."""
    if isinstance(received, AudioReceived):
        return _replace(received, audio=_replace(received.audio, data=data))
    if isinstance(received, CallProduced) and isinstance(received.payload, Audio):
        return _replace(received, payload=_replace(received.payload, data=data))
    return received


def sound_of(received: Input) -> bytes | None:
    """The audio that an input carries."""
    if isinstance(received, AudioReceived):
        return received.audio.data
    if isinstance(received, CallProduced) and isinstance(received.payload, Audio):
        return received.payload.data
    return None


def silenced(stepped: Stepped) -> Stepped:
    """Without the bytes of audio: silence of the same length says as much to a kernel."""
    if not any(isinstance(output.payload, Audio) for output in stepped.outputs):
        return stepped
    outputs = tuple(
        _replace(output, payload=_replace(output.payload, data=bytes(len(output.payload.data))))
        if isinstance(output.payload, Audio)
        else output
        for output in stepped.outputs
    )
    return _replace(stepped, outputs=outputs)
