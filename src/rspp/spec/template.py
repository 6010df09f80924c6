"""The built-in graphs. A pipeline that names one of them needs nothing more than its providers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from rspp.contract.words import BufferStrategy
from rspp.spec.model import BufferSpec, EdgeSpec, NodeSpec


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A graph with a name; `turn_input` as a spec would write it."""

    summary: str
    nodes: Mapping[str, NodeSpec]
    edges: tuple[EdgeSpec, ...]
    turn_input: str


def _node(kind: str) -> NodeSpec:
    return NodeSpec(type=kind, version="v1")


VOICE: Final = Template(
    summary="A spoken conversation: recognise, answer, speak, with captions of both sides.",
    nodes=MappingProxyType(
        {
            "caller": _node("transport.in"),
            "vad": _node("vad"),
            "end_of_turn": _node("end_of_turn"),
            "stt": _node("stt"),
            "llm": _node("llm"),
            "segmenter": _node("segmenter"),
            "tts": _node("tts"),
            "speaker": _node("transport.out"),
        }
    ),
    edges=(
        EdgeSpec(from_="caller.audio", to=("vad.audio", "end_of_turn.audio", "stt.audio")),
        # A caption that is late is replaced by the next one.
        EdgeSpec(
            from_="stt.partial", to="speaker.text", buffer=BufferSpec(strategy=BufferStrategy.LATEST_ONLY)
        ),
        EdgeSpec(from_="stt.final", to="llm.text"),
        EdgeSpec(from_="llm.text", to="segmenter.text"),
        EdgeSpec(from_="segmenter.text", to=("tts.text", "speaker.text")),
        EdgeSpec(from_="tts.audio", to="speaker.audio"),
    ),
    turn_input="stt.final",
)

TEMPLATES: Final[Mapping[str, Template]] = MappingProxyType({"voice": VOICE})
