"""The node types a spec may use. A catalogue is a value that is passed in: nothing registers itself by import.

A type's configuration is a record type, so the same checker reads it, the same generator documents it, and a field
that is not there is reported with its line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from rspp.contract.words import EventKind
from rspp.spec.graph import Lifetime, Port, Role

AUDIO: Final = (EventKind.AUDIO,)
TEXT: Final = (EventKind.TEXT,)
CONTROL: Final = (EventKind.CONTROL,)
ANY: Final = tuple(EventKind)

# Written with `implementation`: a class of one's own, which `host.discovery` may have found.
CUSTOM_TYPE: Final = "custom"

Threshold = Annotated[float, Meta(ge=0, le=1)]


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No settings."""


class RecogniserConfig(Config, frozen=True):
    language: Annotated[
        str | None, Meta(description="BCP 47 tag; none lets the provider detect.", examples=["en"])
    ] = None
    model: Annotated[str | None, Meta(description="Model of the provider.", examples=["base"])] = None
    vocabulary: Annotated[tuple[str, ...], Meta(description="Words to expect.", examples=[["RSPP"]])] = ()


class WriterConfig(Config, frozen=True):
    system: Annotated[
        str, Meta(description="Instructions given before the conversation.", examples=["Be brief."])
    ] = ""
    model: Annotated[str | None, Meta(description="Model of the provider.", examples=["small"])] = None
    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=2)] | None, Meta(description="Spread of the answers.", examples=[0.3])
    ] = None
    tokens_max: Annotated[
        Annotated[int, Meta(ge=1, le=100_000)] | None,
        Meta(description="Length of an answer.", examples=[300]),
    ] = None


class VoiceConfig(Config, frozen=True):
    voice: Annotated[str | None, Meta(description="Voice of the provider.", examples=["alba"])] = None
    model: Annotated[str | None, Meta(description="Model of the provider.", examples=["small"])] = None
    language: Annotated[str | None, Meta(description="BCP 47 tag.", examples=["en"])] = None
    rate: Annotated[float, Meta(ge=0.5, le=2, description="Speaking rate; 1 is natural.", examples=[1.1])] = (
        1.0
    )


class DetectorConfig(Config, frozen=True):
    model: Annotated[str | None, Meta(description="Detector to run.", examples=["silero"])] = None
    frame_ms: Annotated[
        int, Meta(ge=10, le=120, description="Audio looked at in one step.", examples=[32])
    ] = 32


class EndOfTurnConfig(Config, frozen=True):
    model: Annotated[str | None, Meta(description="Detector to run.", examples=["smart-turn"])] = None
    audio_ms_max: Annotated[
        int, Meta(ge=500, le=30_000, description="Audio looked back on.", examples=[8000])
    ] = 8_000


class SegmenterConfig(Config, frozen=True):
    punctuation: Annotated[str, Meta(description="Characters that may end a segment.", examples=[".!?"])] = (
        ".!?\n"
    )
    characters_min: Annotated[int, Meta(ge=1, le=1000, description="Shortest segment.", examples=[12])] = 12
    characters_max: Annotated[int, Meta(ge=10, le=5000, description="Longest segment.", examples=[240])] = 240


PersonalData = Literal["card", "email", "iban", "national_id", "phone"]


class FilterConfig(Config, frozen=True):
    remove: Annotated[tuple[str, ...], Meta(description="Texts to take out.", examples=[["um"]])] = ()
    replace: Annotated[
        dict[str, str], Meta(description="Text -> what to say instead.", examples=[{"Dr.": "Doctor"}])
    ] = {}
    markdown: Annotated[
        Literal["keep", "strip"], Meta(description="Marks that a voice cannot say.", examples=["strip"])
    ] = "keep"
    personal: Annotated[
        tuple[PersonalData, ...],
        Meta(description="Personal data that may not pass.", examples=[["card", "email"]]),
    ] = ()
    banned: Annotated[
        tuple[str, ...], Meta(description="Texts that may not pass.", examples=[["guaranteed return"]])
    ] = ()
    action: Annotated[
        Literal["redact", "replace", "block"],
        Meta(
            description="On personal data and banned texts: name its kind, say `instead`, or say nothing more in this turn.",
            examples=["block"],
        ),
    ] = "redact"
    instead: Annotated[
        str,
        Meta(description="Said for `replace` each time, for `block` once.", examples=["I cannot say that."]),
    ] = ""


class ToolConfig(Config, frozen=True):
    tool: Annotated[
        str, Meta(min_length=1, description="Name of the tool that is called.", examples=["calendar"])
    ]
    has_effects: Annotated[
        bool,
        Meta(description="Whether a call changes the world, and so may not be speculated.", examples=[False]),
    ] = True


class DigitsConfig(Config, frozen=True):
    digits_max: Annotated[int, Meta(ge=1, le=64, description="Digits that end the entry.", examples=[6])] = 32


class NodeType(msgspec.Struct, frozen=True, kw_only=True):
    """What a node of this type is. `scope` None: turn if anything that feeds it is turn scoped, else session."""

    name: str
    summary: str
    role: Role
    scope: str | None
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    # Open inputs take whatever is wired to them, under any port name, and the outputs carry the same kinds.
    open_inputs: bool = False
    modality: str | None = None
    lifetime: Lifetime | None = None
    config: type[msgspec.Struct] | None = Config
    version: str = "v1"


def ports(**kinds: tuple[EventKind, ...]) -> tuple[Port, ...]:
    return tuple(Port(name=name, kinds=kind) for name, kind in kinds.items())


BOUNDARY: Final = ports(audio=AUDIO, text=TEXT, control=CONTROL)

NODE_TYPES: Final = (
    NodeType(
        name="transport.in",
        summary="Where the caller's audio, text and control enter.",
        role=Role.SOURCE,
        scope="session",
        outputs=BOUNDARY,
    ),
    NodeType(
        name="transport.out",
        summary="Where audio, text and control leave for the caller.",
        role=Role.SINK,
        scope="session",
        inputs=BOUNDARY,
    ),
    NodeType(
        name="vad",
        summary="Tells speech from silence.",
        role=Role.CALL,
        scope="session",
        inputs=ports(audio=AUDIO),
        outputs=ports(control=CONTROL),
        lifetime=Lifetime.SESSION,
        config=DetectorConfig,
    ),
    NodeType(
        name="end_of_turn",
        summary="Says how likely the caller has finished.",
        role=Role.CALL,
        scope="session",
        inputs=ports(audio=AUDIO),
        outputs=ports(control=CONTROL),
        lifetime=Lifetime.SESSION,
        config=EndOfTurnConfig,
    ),
    NodeType(
        name="stt",
        summary="Recognises speech: a growing partial, then one final for each utterance.",
        role=Role.CALL,
        scope="session",
        inputs=ports(audio=AUDIO),
        outputs=ports(partial=TEXT, final=TEXT),
        modality="stt",
        lifetime=Lifetime.SESSION,
        config=RecogniserConfig,
    ),
    NodeType(
        name="llm",
        summary="Answers the utterance with text, streamed.",
        role=Role.CALL,
        scope="turn",
        inputs=ports(text=TEXT),
        outputs=ports(text=TEXT),
        modality="llm",
        lifetime=Lifetime.EVENT,
        config=WriterConfig,
    ),
    NodeType(
        name="segmenter",
        summary="Cuts streamed text into pieces fit to be spoken.",
        role=Role.SYNC,
        scope="turn",
        inputs=ports(text=TEXT),
        outputs=ports(text=TEXT),
        config=SegmenterConfig,
    ),
    NodeType(
        name="tts",
        summary="Speaks text, streamed.",
        role=Role.CALL,
        scope="turn",
        inputs=ports(text=TEXT),
        outputs=ports(audio=AUDIO),
        modality="tts",
        lifetime=Lifetime.EVENT,
        config=VoiceConfig,
    ),
    NodeType(
        name="text_filter",
        summary="Removes and replaces words.",
        role=Role.SYNC,
        scope=None,
        inputs=ports(text=TEXT),
        outputs=ports(text=TEXT),
        config=FilterConfig,
    ),
    NodeType(
        name="tool",
        summary="Calls a tool with a text and gives its answer.",
        role=Role.CALL,
        scope="turn",
        inputs=ports(text=TEXT),
        outputs=ports(text=TEXT),
        modality="external",
        lifetime=Lifetime.EVENT,
        config=ToolConfig,
    ),
    NodeType(
        name="dtmf_collector",
        summary="Turns keyed digits into a text.",
        role=Role.SYNC,
        scope="session",
        inputs=ports(control=CONTROL),
        outputs=ports(text=TEXT),
        config=DigitsConfig,
    ),
    NodeType(
        name="merge",
        summary="Joins several streams into one, in a declared order.",
        role=Role.MERGE,
        scope=None,
        outputs=ports(out=ANY),
        open_inputs=True,
    ),
    NodeType(
        name="select",
        summary="Passes one of several streams, by conditions on the session.",
        role=Role.SELECT,
        scope=None,
        outputs=ports(out=ANY),
        open_inputs=True,
    ),
    NodeType(
        name="tee",
        summary="Repeats what it takes, so that one place can be watched or split.",
        role=Role.SYNC,
        scope=None,
        outputs=ports(out=ANY),
        open_inputs=True,
    ),
    # Ports and role of a custom node stand in the spec; its configuration is its own affair.
    NodeType(name=CUSTOM_TYPE, summary="Your own node.", role=Role.SYNC, scope=None, config=None),
)

# Written like a node type, resolved before any node type is looked up.
SUBGRAPH_TYPE: Final = "subgraph"


class Catalog(msgspec.Struct, frozen=True):
    """Node types by name, and published modules by `name@version`."""

    types: Mapping[str, NodeType]
    modules: Mapping[str, object] = {}

    def with_types(self, *more: NodeType) -> Catalog:
        return Catalog({**self.types, **{kind.name: kind for kind in more}}, self.modules)

    def with_modules(self, modules: Mapping[str, object]) -> Catalog:
        return Catalog(self.types, {**self.modules, **modules})

    def find(self, name: str, version: str | None, implementation: str | None) -> NodeType | None:
        """The type that a node of a spec names: a built-in one by its name, a discovered one with its version."""
        if name == CUSTOM_TYPE and implementation is not None:
            return self.types.get(f"{implementation}@{version}") or self.types.get(name)
        return self.types.get(name) or self.types.get(f"{name}@{version}")

    def names(self) -> list[str]:
        return sorted([*(name for name in self.types if ":" not in name), SUBGRAPH_TYPE])


DEFAULT: Final = Catalog({kind.name: kind for kind in NODE_TYPES})
