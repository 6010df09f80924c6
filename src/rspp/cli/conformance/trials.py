"""What a target is tried with, and how patient the suite is: KEY=VALUE from the command, limits from a profile.

A limit may be made stricter freely. One that asks less than the standard is used, and the certificate says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from rspp.contract.errors import MisuseError
from rspp.contract.event import Audio, Text
from rspp.testing.conformance.node import NodeTarget
from rspp.testing.conformance.store import StoreTarget
from rspp.testing.conformance.transport import TransportTarget
from rspp.testing.conformance.trial import FRAME_SAMPLES, RATE, Trial, hum, hush, usual

SILENCE_MS: Final = 1_000
SPOKEN_MS: Final = 1_200
SPEECH_MS_MAX: Final = 60_000
# Each limit, and whether more of it asks less of a target.
LIMITS: Final[Mapping[str, bool]] = {
    "answer_ms_max": True,
    "cancel_ms_max": True,
    "settle_ms": False,  # how long is waited for what must not come
    "blocked_ms_max": True,
    "chunks_after_throttle_max": True,
    "hook_ms_max": True,
    "kept_bytes_max": True,
    "ttl_ms": True,
}
WORDS: Final = ("said", "digits", "speech", "silence_ms", "fed", "ports", "config")

T = TypeVar("T", Trial, NodeTarget, StoreTarget, TransportTarget)


class Said(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--trial` may say."""

    said: str = ""
    digits: str = ""
    speech: str = ""  # a WAV file
    silence_ms: int = SILENCE_MS
    fed: bool = False
    ports: str = ""
    config: str = "{}"


def checked(trial: Mapping[str, str], limits: Mapping[str, float]) -> Said:
    """What was said for the trial; raises `MisuseError` for a word that is none."""
    for name, value in limits.items():
        if name not in LIMITS:
            raise MisuseError("word_unknown", f"there is no limit {name!r}; there are {', '.join(LIMITS)}")
        if not 0 < value < 1e9:
            raise MisuseError("word_unknown", f"{name} is a number above 0, and is {value}")
    try:
        return msgspec.convert(dict(trial), Said, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join((*WORDS, *LIMITS))
        raise MisuseError("word_unknown", f"--trial: {error}; it takes {known}") from None


def split(words: Mapping[str, str]) -> tuple[dict[str, str], dict[str, float]]:
    """What is said for the trial, and what are limits."""
    limits: dict[str, float] = {}
    for name, value in words.items():
        if name in LIMITS:
            try:
                limits[name] = float(value)
            except ValueError:
                raise MisuseError(
                    "word_unknown", f"--trial {name} is a number, and is {value[:40]!r}"
                ) from None
    return {name: value for name, value in words.items() if name not in LIMITS}, limits


def trial_of(modality: str, said: Said) -> Trial:
    """What a provider of this modality is tried with."""
    trial = usual(modality)
    if said.said:
        trial = replaced(
            trial, said=Text(said.said, final=True, role="assistant" if modality == "tts" else "user")
        )
    if said.speech:
        speech = spoken(Path(said.speech))
        trial = replaced(trial, speech=speech, silence=hush(said.silence_ms, after=speech))
    if said.fed and not trial.speech:
        heard = hum(SPOKEN_MS)
        trial = replaced(trial, speech=heard, silence=hush(said.silence_ms, after=heard))
    ports = tuple(name.strip() for name in said.ports.split(",") if name.strip())
    return replaced(trial, fed=said.fed, ports=ports, config=_config(said))


def _config(said: Said) -> dict[str, object]:
    try:
        return msgspec.json.decode(said.config, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeError) as error:
        raise MisuseError("word_unknown", f"--trial config is a JSON object: {error}") from None


def value_of(text: str) -> object:
    """A number, a truth or a JSON value as such; anything else is a text."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return text


def spoken(path: Path) -> tuple[Audio, ...]:
    """A WAV file as the frames that a caller sends."""
    from rspp.media.resample import resample  # noqa: PLC0415 - numbers in numpy: only who has a sound needs them
    from rspp.media.wav import read_wav  # noqa: PLC0415

    sound = read_wav(path)
    if not 0 < sound.ms <= SPEECH_MS_MAX:
        raise MisuseError(
            "word_unknown", f"{path.name}: speech is of at most {SPEECH_MS_MAX} ms; it has {sound.ms}"
        )
    pcm = sound.pcm if sound.rate == RATE else resample(sound.pcm, sound.rate, RATE)
    whole = len(pcm) // (2 * FRAME_SAMPLES)
    frames = (pcm[2 * at * FRAME_SAMPLES : 2 * (at + 1) * FRAME_SAMPLES] for at in range(whole))
    return tuple(Audio(frame, FRAME_SAMPLES, at * FRAME_SAMPLES) for at, frame in enumerate(frames))


def replaced(target: T, **changes: Any) -> T:
    return msgspec.structs.replace(target, **changes)


def limited(target: T, limits: Mapping[str, float]) -> T:
    """With these limits, as far as it has them; they win over its own."""
    fields = {field.name: field.type for field in msgspec.structs.fields(target)}
    wanted = {
        name: int(value) if fields[name] is int else value for name, value in limits.items() if name in fields
    }
    return replaced(target, **wanted)


def limits_of(target: object) -> dict[str, float]:
    """The limits in force."""
    return {name: float(getattr(target, name)) for name in LIMITS if hasattr(target, name)}


def looser(target: object) -> Sequence[str]:
    """Where it asks less than the standard."""
    if not isinstance(target, msgspec.Struct):
        return ()
    usually = {field.name: field.default for field in msgspec.structs.fields(target)}
    found = []
    for name, value in limits_of(target).items():
        standard = float(usually[name])
        if value > standard if LIMITS[name] else value < standard:
            found.append(f"{name} is {value:g}, not {standard:g}")
    return found
