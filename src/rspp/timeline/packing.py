"""Inputs as they stand in an `Inputs` record: small where they come fifty times a second, exact always.

An entry is one of

    d               the next audio frame: `d` ns after the input before, in everything the frame before goes on
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
from rspp.kernel.inputs import AnyInput, AudioReceived, CallProduced, Input, SpeechScored
from rspp.timeline.records import RECORD_BYTES_MAX, Inputs

Entry = Any
_replace: Final = msgspec.structs.replace


def pack(
    first: int, began: int, batch: Sequence[tuple[int, Input]], redact: Callable[[int, int, Input], Input]
) -> Inputs:
    """A run of inputs; `redact(step, at, input)` gives the stand-in of those that are neither audio nor scores."""
    entries: list[Entry] = []
    add = entries.append
    sounds: list[bytes] = []
    hear = sounds.append
    last = began
    sequence = place = -1
    model: Audio | None = None
    size = 0
    epoch: int | None = None
    for step, (at, received) in enumerate(batch, first):
        kind = type(received)
        delta = at - last
        last = at
        if kind is AudioReceived:
            audio: Audio = received.audio  # type: ignore[attr-defined]  # as its type says
            data = audio.data
            hear(data)
            if (
                model is not None
                and received.transport_sequence == sequence  # type: ignore[attr-defined]
                and audio.sample_index == place
                and len(data) == size
                and audio.samples == model.samples
                and audio.rate == model.rate
                and audio.codec is model.codec
                and audio.channels == model.channels
                and not audio.end
                and received.epoch == epoch  # type: ignore[attr-defined]
            ):
                add(delta)
                sequence += 1
                place += audio.samples
                continue
            size = len(data)
            add([delta, _replace(received, audio=_replace(audio, data=b"")), size])
            model = None if audio.end else audio
            sequence, place = received.transport_sequence + 1, audio.sample_index + audio.samples  # type: ignore[attr-defined]
            epoch = received.epoch  # type: ignore[attr-defined]
        elif kind is SpeechScored:
            add([delta, received.probability])  # type: ignore[attr-defined]
        elif kind is CallProduced and type(received.payload) is Audio:  # type: ignore[attr-defined]
            sound: Audio = received.payload  # type: ignore[attr-defined]
            hear(sound.data)
            add([delta, _replace(received, payload=_replace(sound, data=b"")), len(sound.data)])
        else:
            add([delta, redact(step, at, received)])
    if not sounds:
        return Inputs(first=first, at=began, entries=entries)
    joined = b"".join(sounds)
    return Inputs(
        first=first,
        at=began,
        entries=entries,
        audio=len(sounds),
        audio_bytes=len(joined),
        payload=hashlib.sha256(joined).hexdigest(),
    )


def unpack(record: Inputs) -> list[tuple[int, Input]]:
    """The inputs again, audio as silence; raises CodecError if the entries make no sense."""
    inputs: list[tuple[int, Input]] = []
    at = record.at
    frame: AudioReceived | None = None
    try:
        for entry in record.entries:
            if type(entry) is int:
                if frame is None:
                    raise ValueError("a frame goes on from none")
                at += entry
                frame = _next(frame)
                inputs.append((at, frame))
                continue
            at += entry[0]
            body = entry[1]
            if type(body) is not dict:
                inputs.append((at, SpeechScored(float(body))))
                continue
            received: Input = msgspec.convert(body, AnyInput, builtin_types=(bytes,))
            if len(entry) == 3:
                received = _silent(received, entry[2])
                if isinstance(received, AudioReceived):
                    frame = received
            inputs.append((at, received))
    except (msgspec.ValidationError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise CodecError("malformed", f"inputs[{record.first + len(inputs)}]", str(error)) from error
    return inputs


def _next(frame: AudioReceived) -> AudioReceived:
    audio = frame.audio
    return AudioReceived(
        Audio(
            audio.data,
            audio.samples,
            audio.sample_index + audio.samples,
            audio.rate,
            audio.channels,
            audio.codec,
        ),
        frame.transport_sequence + 1,
        frame.epoch,
    )


def _silent(received: Input, size: int) -> Input:
    if not 0 <= size <= RECORD_BYTES_MAX:
        raise ValueError(f"audio of {size} bytes")
    if isinstance(received, AudioReceived):
        return _replace(received, audio=_replace(received.audio, data=bytes(size)))
    if isinstance(received, CallProduced) and isinstance(received.payload, Audio):
        return _replace(received, payload=_replace(received.payload, data=bytes(size)))
    raise ValueError("no audio in it")


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
