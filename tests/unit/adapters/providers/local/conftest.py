"""Things to hear. The models themselves are a fixture of all tests, `models`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from rspp.adapters.providers.local.hibari import _load, _speak
from tests.unit.adapters.providers.local.driving import Say


@pytest.fixture(scope="session")
def say() -> Say:
    """A sentence as 16 kHz PCM16, spoken by the local voice."""
    voice = _load()

    @cache
    def spoken(text: str) -> bytes:
        return b"".join(_speak(voice, phonemes, 1.0, 16_000) for phonemes in voice.phonemize(text))

    return spoken


@pytest.fixture
def noise() -> Callable[[float, int], bytes]:
    """White noise of a level, the same each time."""

    def made(level: float, ms: int) -> bytes:
        samples = np.random.default_rng(7).normal(0, level * 32_768, 16 * ms)
        return bytes(np.clip(samples, -32_768, 32_767).astype("<i2").tobytes())

    return made
