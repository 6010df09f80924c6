"""The PipelineSpec as people write it: every field typed, described and optional wherever a profile has a value.

`None` means "not given": what it then becomes is decided by the profile and the layers, never here. The reference
page and the published JSON Schema are generated from these types, so a field's description is its documentation.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta

from rspp.contract.plan import (
    Budgets,
    FlowControl,
    RecordingPolicy,
    StreamingHandoff,
)
from rspp.contract.words import (
    AdaptiveAction,
    BufferStrategy,
    CancelMode,
    DropSide,
    EventKind,
    FlowMode,
    Lane,
    Modality,
    SyncPolicy,
    UnknownEventAction,
)
from rspp.spec.check import read
from rspp.spec.graph import Absent, OnCancel, OnFailure, Policies, Targets
from rspp.spec.problem import Findings, Mark, Path
from rspp.spec.source import Scalar, Source

Name = Annotated[str, Meta(pattern=r"[A-Za-z][A-Za-z0-9_-]{0,63}")]
Endpoint = Annotated[str, Meta(pattern=r"[A-Za-z][A-Za-z0-9_-]{0,63}(\.[A-Za-z][A-Za-z0-9_-]{0,63})?")]
Words = Annotated[str, Meta(min_length=1, max_length=256)]
Version = Annotated[str, Meta(pattern=r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")]
Pin = Annotated[str, Meta(pattern=r"[A-Za-z][A-Za-z0-9_-]{0,63}@[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")]
Positive = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Whole = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Scope = Literal["session", "turn"]
Ids = Annotated[tuple[Words, ...], Meta(min_length=1)]
Metadata = dict[str, Any]


class _Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something a person wrote: immutable, by keyword, strict about names."""


class PolicySettings(Policies, frozen=True):
    """All policies of a pipeline: the kernel's, and those that go into the turn plan beside them."""

    flow_control: FlowControl
    streaming_handoff: StreamingHandoff
    recording_policy: RecordingPolicy
    allowed_adaptive_actions: tuple[AdaptiveAction, ...]


class ConditionSpec(_Written, frozen=True):
    """`attribute op value`: asks about an attribute of the event, or of the session in a select."""

    attribute: Annotated[Words, Meta(description="Name of the attribute asked about.", examples=["language"])]
    op: Annotated[
        Literal["eq", "ne", "lt", "le", "gt", "ge", "in"],
        Meta(description="Comparison; `in` asks whether the attribute is one of a list.", examples=["ge"]),
    ]
    value: Annotated[
        str | int | float | bool | tuple[str, ...],
        Meta(description="What to compare with; a list of texts for `in`.", examples=[0.8]),
    ]
    absent: Annotated[
        Absent | None, Meta(description="What to do when the attribute is not there.", examples=["skip"])
    ] = None


class MergeSpec(_Written, frozen=True):
    """How a merge orders its inputs. Ties: input order, then sequence."""

    order: Annotated[
        Literal["timestamp", "source_priority"],
        Meta(description="By event time, or by the order in which the inputs' edges are written."),
    ] = "timestamp"
    window_ms: Annotated[
        Annotated[int, Meta(ge=0, le=10_000)],
        Meta(description="How long to wait for an earlier event of another input.", examples=[40]),
    ] = 0


class CandidateSpec(_Written, frozen=True):
    input: Annotated[Name, Meta(description="Input port of the select node.", examples=["primary"])]
    when: Annotated[
        ConditionSpec | None, Meta(description="Condition on the session's facts; none: always.")
    ] = None


class SelectSpec(_Written, frozen=True):
    """Candidates in order; the first whose condition holds wins."""

    candidates: Annotated[
        tuple[CandidateSpec, ...], Meta(min_length=1, description="Inputs, the preferred one first.")
    ]


class NodeBudgetSpec(_Written, frozen=True):
    """Compute time; an overrun raises a timeout and starts the fallback or the degradation."""

    per_event_ms: Annotated[Positive | None, Meta(description="For one event.", examples=[50])] = None
    per_turn_ms: Annotated[Positive | None, Meta(description="For a whole turn.", examples=[800])] = None


class NodeLimitsSpec(_Written, frozen=True):
    """What a node in a process of its own may take; beyond it the process ends, and with it only that node's call."""

    memory_mb: Annotated[
        int, Meta(ge=64, le=65_536, description="Memory of the process.", examples=[256])
    ] = 256
    cpu_ms: Annotated[
        int, Meta(ge=10, le=600_000, description="Processor time for one event.", examples=[500])
    ] = 1_000


class NodeSpec(_Written, frozen=True):
    """One step of the pipeline."""

    type: Annotated[
        Words, Meta(description="A node type of the catalogue, `subgraph`, or `custom`.", examples=["stt"])
    ]
    version: Annotated[
        Version | None, Meta(description="Version of the node's implementation.", examples=["v1"])
    ] = None
    scope: Annotated[
        Scope | None,
        Meta(description="Lives as long as the session, or anew for each turn.", examples=["turn"]),
    ] = None
    config: Annotated[
        dict[str, Any],
        Meta(description="Fields of the node type, see the catalogue.", examples=[{"language": "en"}]),
    ] = {}
    budget: Annotated[
        NodeBudgetSpec | None,
        Meta(description="Compute time an event or a turn may take.", examples=[{"per_event_ms": 50}]),
    ] = None
    cancel: Annotated[
        CancelMode | None,
        Meta(description="`soft` finishes the chunk in flight, `hard` stops at once.", examples=["soft"]),
    ] = None
    on_failure: Annotated[
        OnFailure | None,
        Meta(description="What an unrecoverable failure does; `fallback` when a fallback is named."),
    ] = None
    fallback: Annotated[Name | None, Meta(description="Node that takes over.", examples=["llm-small"])] = None
    concurrency_limit: Annotated[
        Whole | None,
        Meta(description="Invocations at a time under one fairness key; 0 means no limit.", examples=[4]),
    ] = None
    fairness_key: Annotated[
        Words | None, Meta(description="Key for sharing capacity.", examples=["tenant"])
    ] = None
    merge: Annotated[
        MergeSpec | None, Meta(description="For type `merge`.", examples=[{"order": "timestamp"}])
    ] = None
    select: Annotated[SelectSpec | None, Meta(description="For type `select`.")] = None
    use: Annotated[
        Pin | None,
        Meta(description="For type `subgraph`: the module and its pinned version.", examples=["greet@v1"]),
    ] = None
    implementation: Annotated[
        Words | None,
        Meta(description="For type `custom`: `module:Class` or an entry point.", examples=["acme.nodes:Tag"]),
    ] = None
    role: Annotated[
        Literal["sync", "call"] | None, Meta(description="For type `custom`: how the kernel runs it.")
    ] = None
    inputs: Annotated[
        dict[Name, Annotated[tuple[EventKind, ...], Meta(min_length=1)]] | None,
        Meta(description="For type `custom`: input ports and what they take.", examples=[{"in": ["text"]}]),
    ] = None
    outputs: Annotated[
        dict[Name, Annotated[tuple[EventKind, ...], Meta(min_length=1)]] | None,
        Meta(description="For type `custom`: output ports and what they give.", examples=[{"out": ["text"]}]),
    ] = None
    isolate: Annotated[
        Literal["process"] | None,
        Meta(description="For sync nodes: run in a process of its own, which may be killed."),
    ] = None
    limits: Annotated[
        NodeLimitsSpec | None,
        Meta(description="For `isolate: process`: its bounds.", examples=[{"memory_mb": 128}]),
    ] = None
    metadata: Annotated[Metadata, Meta(description="Free words for search; never alters execution.")] = {}


class WatermarkSpec(_Written, frozen=True):
    high: Annotated[Positive, Meta(description="Crossed upwards: saturation begins.", examples=[48])]
    low: Annotated[Whole, Meta(description="Reached downwards: saturation ends.", examples=[24])]


class WatermarksSpec(_Written, frozen=True):
    queue_items: Annotated[
        WatermarkSpec | None, Meta(description="By depth.", examples=[{"high": 48, "low": 24}])
    ] = None
    queue_ms: Annotated[WatermarkSpec | None, Meta(description="By waiting time.")] = None


class LaneHandlingSpec(_Written, frozen=True):
    """What the edge does with each lane when it is full."""

    data: Annotated[
        BufferStrategy | None, Meta(description="Must agree with `strategy`.", examples=["drop"])
    ] = None
    control: Annotated[
        Literal["non_blocking_priority"] | None, Meta(description="Control is never dropped.")
    ] = None
    telemetry: Annotated[
        Literal["drop", "sample", "best_effort_drop"] | None, Meta(description="Telemetry is shed first.")
    ] = None


class SyncDropSpec(_Written, frozen=True):
    """Which events fall together when one of them is dropped."""

    policy: Annotated[SyncPolicy, Meta(description="How a drop affects its group.", examples=["atomic_drop"])]
    scope: Annotated[
        Literal["edge_local", "plan_wide"], Meta(description="This edge, or every edge of the domain.")
    ] = "edge_local"
    group_by: Annotated[
        Literal["sync_id", "event_id", "custom"] | None, Meta(description="What makes a group.")
    ] = None
    sync_domain: Annotated[
        Words | None, Meta(description="For drop_with_discontinuity.", examples=["av"])
    ] = None


class BufferSpec(_Written, frozen=True):
    """Bounds of an edge's queue. Each one left out comes from the profile."""

    strategy: Annotated[
        BufferStrategy | None, Meta(description="What happens at a bound.", examples=["drop"])
    ] = None
    drop_side: Annotated[DropSide | None, Meta(description="Due with `drop`.", examples=["oldest"])] = None
    max_queue_items: Annotated[Positive | None, Meta(description="Depth.", examples=[64])] = None
    max_queue_ms: Annotated[Positive | None, Meta(description="Time in the queue.", examples=[300])] = None
    max_queue_bytes: Annotated[Positive | None, Meta(description="Payload bytes.", examples=[262144])] = None
    max_latency_contribution_ms: Annotated[
        Positive | None, Meta(description="Latency this edge may add.", examples=[120])
    ] = None
    max_block_time_ms: Annotated[
        Positive | None, Meta(description="Due with `block`: after it, shed.", examples=[250])
    ] = None
    watermarks: Annotated[WatermarksSpec | None, Meta(description="Marks, strictly below the limits.")] = None
    coalesce_ms: Annotated[
        Positive | None, Meta(description="For `merge` and `latest_only`: the cadence.", examples=[200])
    ] = None
    lane_handling: Annotated[LaneHandlingSpec | None, Meta(description="What is done with each lane.")] = None
    sync_drop: Annotated[SyncDropSpec | None, Meta(description="What falls together.")] = None
    fairness_key: Annotated[
        Words | None, Meta(description="Key for sharing capacity.", examples=["session"])
    ] = None


class EdgeSpec(_Written, frozen=True):
    """A typed channel between two ports; the port may be left out where a node has only one."""

    from_: Annotated[Endpoint, Meta(description="`node.port` that gives.", examples=["stt.final"])] = (
        msgspec.field(name="from")
    )
    to: Annotated[
        Endpoint | Annotated[tuple[Endpoint, ...], Meta(min_length=1)],
        Meta(description="`node.port` that takes; a list fans out.", examples=["llm.text"]),
    ]
    lane: Annotated[
        Lane | None, Meta(description="Follows from the kinds; due when they mix.", examples=["DataLane"])
    ] = None
    buffer: Annotated[BufferSpec | None, Meta(description="Bounds; the profile has a default for each.")] = (
        None
    )
    flow: Annotated[
        FlowMode | None, Meta(description="How the source is slowed down.", examples=["signal"])
    ] = None
    credits: Annotated[
        Positive | None, Meta(description="Initial credits, for credit and hybrid.", examples=[16])
    ] = None
    when: Annotated[ConditionSpec | None, Meta(description="Only events for which this holds pass.")] = None
    on_cancel: Annotated[
        OnCancel | None, Meta(description="What a cancel does to what is queued.", examples=["clear"])
    ] = None


class SubgraphSpec(_Written, frozen=True):
    """A reusable module: its inside, and the ports that it shows."""

    version: Annotated[Version, Meta(description="Taken by pinning it in `use`.", examples=["v1"])]
    nodes: Annotated[dict[Name, NodeSpec], Meta(description="Nodes inside.")]
    edges: Annotated[tuple[EdgeSpec, ...], Meta(description="Edges inside.")] = ()
    inputs: Annotated[
        dict[Name, Endpoint],
        Meta(description="Shown input -> inner `node.port`.", examples=[{"text": "tag.in"}]),
    ] = {}
    outputs: Annotated[
        dict[Name, Endpoint],
        Meta(description="Shown output -> inner `node.port`.", examples=[{"text": "tag.out"}]),
    ] = {}
    metadata: Annotated[Metadata, Meta(description="Free words for search; never alters execution.")] = {}


Providers = Annotated[
    dict[Modality, Words | Ids],
    Meta(
        description="Modality -> provider id, or ids with the preferred one first.",
        examples=[{"stt": ["stt-deepgram"], "llm": "llm-anthropic"}],
    ),
]
ProviderSettings = Annotated[
    dict[Words, dict[str, Any]],
    Meta(
        description="Provider id -> `use`, its kind (none: the id itself), and that kind's settings; secrets by reference.",
        examples=[{"house-llm": {"use": "openai-llm", "model": "qwen", "api_key": "env://LLM_KEY"}}],
    ),
]
BudgetsOverlay = Annotated[
    dict[str, Any],
    Meta(description="Soft time limits.", examples=[{"turn_budget_ms": 2000}], extra={"overlay": Budgets}),
]
TargetsOverlay = Annotated[
    dict[str, Any],
    Meta(
        description="What the pipeline is measured against, and when an alert is raised; alters no execution.",
        examples=[{"end_to_end_p95_ms": 1800}],
        extra={"overlay": Targets},
    ),
]
PoliciesOverlay = Annotated[
    dict[str, Any],
    Meta(
        description="Any of the profile's policies, nested by the same names.",
        examples=[{"turn_taking": {"silence_ms_min": 300}}],
        extra={"overlay": PolicySettings},
    ),
]


class PipelineSpec(_Written, frozen=True):
    """A whole pipeline. The least is `pipeline`, `version`, `template` and `providers`."""

    pipeline: Annotated[Name, Meta(description="Name of the pipeline.", examples=["front-desk"])]
    version: Annotated[Version, Meta(description="Immutable once published.", examples=["v1"])]
    profile: Annotated[
        Words,
        Meta(
            description="Source of every default; only `simple/v1` (alias `simple`).", examples=["simple/v1"]
        ),
    ] = "simple/v1"
    template: Annotated[
        Words | None, Meta(description="A built-in graph, instead of nodes and edges.", examples=["voice"])
    ] = None
    nodes: Annotated[
        dict[Name, NodeSpec],
        Meta(description="Node id -> node.", examples=[{"stt": {"type": "stt", "version": "v1"}}]),
    ] = {}
    edges: Annotated[
        tuple[EdgeSpec, ...],
        Meta(description="Channels.", examples=[[{"from": "caller.audio", "to": "stt.audio"}]]),
    ] = ()
    subgraphs: Annotated[dict[Name, SubgraphSpec], Meta(description="Modules defined here, by name.")] = {}
    turn_input: Annotated[
        Endpoint | None,
        Meta(
            description="Output on which an utterance enters its turn, if not plain.", examples=["stt.final"]
        ),
    ] = None
    providers: Providers = {}
    provider_settings: ProviderSettings = {}
    budgets: BudgetsOverlay = {}
    targets: TargetsOverlay = {}
    policies: PoliciesOverlay = {}
    unknown_event_action: Annotated[
        UnknownEventAction | None,
        Meta(description="Short for `policies.unknown_events`.", examples=["reject"]),
    ] = None
    metadata: Annotated[
        Metadata,
        Meta(description="Free words for search; never alters execution.", examples=[{"team": "desk"}]),
    ] = {}


class LayerSpec(_Written, frozen=True):
    """What an environment, a tenant or a session may set over a pipeline."""

    providers: Providers = {}
    provider_settings: ProviderSettings = {}
    budgets: BudgetsOverlay = {}
    targets: TargetsOverlay = {}
    policies: PoliciesOverlay = {}


PIPELINE: Final = msgspec.inspect.type_info(PipelineSpec)
REQUIRED: Final = ("pipeline", "version")
LAYER: Final = msgspec.inspect.type_info(LayerSpec)
SUBGRAPH: Final = msgspec.inspect.type_info(SubgraphSpec)


def pipeline_of(source: Source) -> PipelineSpec | None:
    """The typed spec of a text, or None when it lacks what no spec can do without."""
    if source.root is None:
        return None
    value = read(source.root, PIPELINE, (), source.findings)
    if value is UNSET:
        # The faults were reported; placeholders let the rest of the spec be checked in the same run.
        entries = {**source.root.entries, **{key: _placeholder(key, source.root.at) for key in REQUIRED}}
        value = read(
            msgspec.structs.replace(source.root, entries=entries), PIPELINE, (), Findings(source.file)
        )
    return None if value is UNSET else value


def _placeholder(key: str, at: Mark) -> Scalar:
    return Scalar(value=key, raw=key, at=at)


def layer_of(source: Source) -> LayerSpec | None:
    if source.root is None:
        return None
    value = read(source.root, LAYER, (), source.findings)
    return None if value is UNSET else value


def metadata_clashes(spec: PipelineSpec, findings: Findings) -> None:
    """A metadata key that reads like a field would be taken for one by whoever searches or edits the spec."""
    fields = {field.encode_name for field in msgspec.structs.fields(PipelineSpec)} - {"metadata"}
    node_fields = {field.encode_name for field in msgspec.structs.fields(NodeSpec)} - {"metadata"}
    places: list[tuple[Path, Metadata, set[str]]] = [(("metadata",), spec.metadata, fields)]
    places += [(("nodes", name, "metadata"), node.metadata, node_fields) for name, node in spec.nodes.items()]
    for path, metadata, reserved in places:
        for key in metadata:
            if key in reserved:
                findings.error(
                    "metadata_clash",
                    (*path, key),
                    f"the metadata key '{key}' has the name of a real field",
                    "Rename it, or move it out of metadata if it was meant to take effect",
                    at_key=True,
                )
