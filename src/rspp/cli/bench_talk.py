"""What the benchmarks' callers say and are told: a spoken question, then one long answer that outlasts the measurement.

The providers are the scripted ones: their timing is real, their work is next to nothing, so that what is measured is
everything around a model.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from rspp.contract.plan import Watermark
from rspp.host.registry import Registry
from rspp.nodes import factories
from rspp.spec import GraphDefinition, compile_text
from rspp.testing import scripted

FRAME_MS: Final = 20
FRAME_NS: Final = FRAME_MS * 1_000_000
SAMPLES: Final = 320  # 20 ms at 16 kHz
LOUD: Final = b"\x00\x20" * SAMPLES
QUIET: Final = bytes(2 * SAMPLES)
# Where a frame may carry the time at which it was due: bytes that the scripted detectors do not look at.
STAMP: Final = slice(2, 10)
# The question, and the pause after which it has been asked.
QUESTION_FRAMES: Final = 25
ANSWERED_AFTER_MS: Final = 1_600

MS_PER_CHARACTER: Final = 60
SENTENCE: Final = "This goes on for quite a while, so that there is always something to be heard."
# The synthesiser runs at twice the speed of speech, in chunks of 100 ms, and is held back when this much waits.
CHUNKS_AHEAD_MAX: Final = 6

SPEC: Final = """
pipeline: NAME
version: VERSION
template: voice
providers:
  vad: [DETECTOR]
  end_of_turn: [scripted-end-of-turn]
  stt: [scripted-stt]
  llm: [scripted-llm]
  tts: [scripted-tts]
provider_settings:
  scripted-stt: {texts: ["Tell me the whole story."]}
  scripted-llm: {answers: ["ANSWER"], tokens_per_s: 100}
  scripted-tts: {speed: 2, ms_per_character: CHARACTER}
"""


def pipeline(
    answer_ms: int, *, name: str = "bench", version: str = "v1", detector: str = "scripted-vad"
) -> GraphDefinition:
    """The built-in voice graph with scripted providers, whose every answer lasts at least this long."""
    sentences = answer_ms // (len(SENTENCE) * MS_PER_CHARACTER) + 1
    words = {
        "NAME": name,
        "VERSION": version,
        "DETECTOR": detector,
        "ANSWER": " ".join([SENTENCE] * sentences),
        "CHARACTER": str(MS_PER_CHARACTER),
    }
    text = SPEC
    for word, value in words.items():
        text = text.replace(word, value)
    return held_to(compile_text(text), CHUNKS_AHEAD_MAX)


def held_to(graph: GraphDefinition, chunks: int) -> GraphDefinition:
    """The same graph, in which the synthesiser gets this many chunks ahead and no more: a session's memory is mostly those."""
    edges = tuple(
        replace(
            edge,
            buffer=replace(
                edge.buffer,
                watermarks=replace(edge.buffer.watermarks, queue_items=Watermark(chunks, chunks // 2)),
            ),
        )
        if edge.source == "tts"
        else edge
        for edge in graph.edges
    )
    return replace(graph, edges=edges)


def registry() -> Registry:
    return Registry(providers=scripted.providers(), nodes=factories())
