"""What types cannot say: rules between fields, between nodes, and between what was written and what was meant.

One table holds every rule. A rule about the whole graph runs only when the whole graph could be read, so that a fault
in one place is not reported again as its consequences elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from rspp.contract.words import AdaptiveAction, EventKind, FlowMode
from rspp.spec.assemble import Assembly
from rspp.spec.catalog import CONTROL, SUBGRAPH_TYPE, ToolConfig
from rspp.spec.graph import OnFailure, Role
from rspp.spec.model import ConditionSpec, NodeSpec, metadata_clashes
from rspp.spec.normalise import NormalisedSpec
from rspp.spec.problem import Findings, Path, Problem, Severity, did_you_mean
from rspp.spec.provider_settings import HINT, literal_secrets
from rspp.spec.wiring import Resolved, Wiring, fallback_of


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known about a spec before it is compiled.

    `whole`: every node and edge could be read. `written_providers`: modalities named in the text, rightly or wrongly.
    """

    normalised: NormalisedSpec
    assembly: Assembly
    wiring: Wiring
    whole: bool
    written_providers: frozenset[str]

    @property
    def nodes(self) -> Iterable[Resolved]:
        return self.wiring.nodes.values()


Rule = Callable[[Facts, Findings], None]


def check(facts: Facts, findings: Findings) -> None:
    check_settings(facts.normalised)
    for rule in RULES:
        rule(facts, findings)
    if facts.whole:
        for rule in WHOLE_GRAPH_RULES:
            rule(facts, findings)


def check_settings(normalised: NormalisedSpec) -> None:
    """The rules between settings; each is reported where the setting to blame was written."""
    settings_agree(normalised)
    lane_marks_are_below_limits(normalised)
    actions_stand_in_order(normalised)


# Fields of a node or an edge whose faults leave the shape of the graph as it was written.
SHAPELESS: Final = frozenset(
    [
        "budget",
        "buffer",
        "cancel",
        "concurrency_limit",
        "config",
        "credits",
        "fairness_key",
        "flow",
        "isolate",
        "lane",
        "limits",
        "merge",
        "metadata",
        "on_cancel",
        "on_failure",
        "version",
        "when",
    ]
)


def is_whole(problems: Iterable[Problem]) -> bool:
    """Has nothing been left out of the graph because it could not be read?"""
    for problem in problems:
        root, *inner = re.split(r"[.\[]", problem.path)
        shapeless = SHAPELESS.intersection(inner[1:])
        if (
            problem.severity is Severity.ERROR
            and root in ("nodes", "edges", "subgraphs", "template")
            and not shapeless
        ):
            return False
    return True


# --- settings -----------------------------------------------------------------------------------------------

# The first must not exceed the second; a warning where the pipeline would still run.
ORDERED: Final = (
    ("policies.turn_taking.silence_threshold", "policies.turn_taking.speech_threshold", "error"),
    ("policies.turn_taking.silence_ms_min", "policies.turn_taking.silence_ms_max", "error"),
    ("policies.turn_taking.interruption_ms_min", "policies.turn_taking.decide_ms_max", "warning"),
    ("policies.turn_taking.end_of_turn_threshold", "policies.turn_taking.speculation_threshold", "warning"),
    ("policies.calls.backoff_ms", "policies.calls.backoff_ms_max", "error"),
    ("policies.calls.attempts_per_provider_max", "policies.calls.attempts_total_max", "error"),
    ("policies.calls.provider_timeout_ms", "budgets.turn_budget_ms", "warning"),
    ("policies.calls.fallback_reserve_ms", "budgets.turn_budget_ms", "warning"),
    ("budgets.node_budget_ms_default", "budgets.turn_budget_ms", "warning"),
    ("budgets.path_budget_ms_default", "budgets.turn_budget_ms", "warning"),
    ("budgets.edge_budget_ms_default", "budgets.turn_budget_ms", "warning"),
    ("policies.playout.frame_ms", "policies.playout.lead_ms", "error"),
    ("policies.recording.l1_fill", "policies.recording.l0_fill", "error"),
    ("policies.recording.l1_lag_ms", "policies.recording.l0_lag_ms", "error"),
    ("policies.recording.recovery_fill", "policies.recording.l1_fill", "error"),
    ("policies.recording.recovery_lag_ms", "policies.recording.l1_lag_ms", "error"),
    ("policies.limits.evidence_append_ms_max", "budgets.turn_budget_ms", "warning"),
)
LANES: Final = ("ControlLane", "DataLane", "TelemetryLane")


def settings_agree(normalised: NormalisedSpec) -> None:
    for lesser, greater, severity in ORDERED:
        low, high = normalised.settings[lesser], normalised.settings[greater]
        if low.value <= high.value:
            continue
        blamed = high if high.path and not low.path else low
        message = f"{_last(lesser)} {low.value} is above {_last(greater)} {high.value}"
        report = blamed.findings.error if severity == "error" else blamed.findings.warning
        report("settings_disagree", blamed.path, message, f"Lower {lesser} or raise {greater}")


def lane_marks_are_below_limits(normalised: NormalisedSpec) -> None:
    settings = normalised.settings
    for lane in LANES:
        low = settings[f"policies.flow_control.watermarks.{lane}.low"]
        high = settings[f"policies.flow_control.watermarks.{lane}.high"]
        limit = settings[f"policies.limits.lane_items_max.{lane}"]
        if low.value >= high.value:
            blamed = low if low.path else high
            message = f"the low mark {low.value} is not below the high mark {high.value}"
            blamed.findings.error("watermark_order", blamed.path, message)
        if high.value >= limit.value:
            blamed = high if high.path else limit
            message = f"the high mark {high.value} of the {lane} is not below its limit {limit.value}"
            blamed.findings.error(
                "watermark_at_limit", blamed.path, message, "Lower the mark or raise the limit"
            )


def actions_stand_in_order(normalised: NormalisedSpec) -> None:
    setting = normalised.settings["policies.allowed_adaptive_actions"]
    canonical = [action for action in AdaptiveAction if action in setting.value]
    if list(setting.value) != canonical:
        message = f"adaptive actions stand in their canonical order: {', '.join(canonical)}"
        setting.findings.error("action_order", setting.path, message)


def _last(path: str) -> str:
    return path.rpartition(".")[2]


# --- nodes --------------------------------------------------------------------------------------------------


def metadata_is_free_of_field_names(facts: Facts, findings: Findings) -> None:
    metadata_clashes(facts.normalised.spec, findings)


def versions_are_explicit(facts: Facts, findings: Findings) -> None:
    spec = facts.normalised.spec
    places: list[tuple[Path, dict[str, NodeSpec]]] = [((), spec.nodes)]
    places += [(("subgraphs", name), module.nodes) for name, module in spec.subgraphs.items()]
    for path, nodes in places:
        for name, node in nodes.items():
            if node.version is None and node.type != SUBGRAPH_TYPE:
                message = f"the node '{name}' does not say which version it runs"
                findings.warning("version_missing", (*path, "nodes", name), message, "Add `version: v1`")


# Fields that mean something to one type only.
OWNED: Final = {
    "merge": ("merge",),
    "select": ("select",),
    "use": (SUBGRAPH_TYPE,),
    "implementation": ("custom",),
    "role": ("custom",),
    "inputs": ("custom",),
    "outputs": ("custom",),
}


def fields_belong_to_their_type(facts: Facts, findings: Findings) -> None:
    for node in facts.nodes:
        for field, types in OWNED.items():
            if getattr(node.placed.spec, field) is not None and node.placed.spec.type not in types:
                message = f"'{field}' means nothing to a node of type '{node.placed.spec.type}'"
                hint = f"It belongs to: {', '.join(types)}"
                findings.error("field_unused", (*node.placed.path, field), message, hint, at_key=True)


def fallbacks_can_take_over(facts: Facts, findings: Findings) -> None:
    for node in facts.nodes:
        spec, at = node.placed.spec, node.placed.path
        fallback = fallback_of(node)
        if fallback is None:
            if spec.on_failure is OnFailure.FALLBACK:
                message = "a failure is to fall back, but no fallback is named"
                findings.error("fallback_missing", (*at, "on_failure"), message, "Add `fallback: node`")
            continue
        if spec.on_failure not in (None, OnFailure.FALLBACK):
            message = f"a fallback is named, but a failure is to {spec.on_failure}"
            findings.error("fallback_unused", (*at, "on_failure"), message, "Write `on_failure: fallback`")
        _check_fallback(facts, node, fallback, (*at, "fallback"), findings)


def _check_fallback(facts: Facts, node: Resolved, fallback: str, at: Path, findings: Findings) -> None:
    other = facts.wiring.nodes.get(fallback)
    if fallback == node.id:
        findings.error("fallback_self", at, f"the node '{node.id}' cannot stand in for itself")
    elif other is None:
        if fallback not in facts.wiring.broken:
            message = f"there is no node '{fallback}' to fall back to"
            findings.error("fallback_unknown", at, message, did_you_mean(fallback, facts.wiring.nodes))
    else:
        for port, kinds in node.inputs.items():
            missing = [kind for kind in kinds if kind not in other.inputs.get(port, ())]
            if missing:
                message = (
                    f"'{fallback}' cannot take over: it takes no {' or '.join(missing)} on a port '{port}'"
                )
                findings.error("fallback_mismatch", at, message, "A fallback takes what its primary takes")
        if other.scope != node.scope:
            message = f"'{fallback}' has {other.scope} scope, '{node.id}' has {node.scope} scope"
            findings.error("fallback_mismatch", at, message)


def merges_join(facts: Facts, findings: Findings) -> None:
    for node in facts.nodes:
        if node.role is Role.MERGE and len(node.inputs) < 2 and facts.whole:
            message = f"the merge '{node.id}' has {len(node.inputs)} input"
            findings.error(
                "merge_inputs", node.placed.path, message, "Wire each upstream to a port of its own"
            )


def selects_choose(facts: Facts, findings: Findings) -> None:
    for node in facts.nodes:
        if node.role is not Role.SELECT:
            continue
        spec, at = node.placed.spec.select, node.placed.path
        if spec is None:
            message = f"the select '{node.id}' names no candidates"
            findings.error("missing_field", at, message, "Add `select: {candidates: [{input: a}, ...]}`")
            continue
        named = [candidate.input for candidate in spec.candidates]
        for index, name in enumerate(named):
            here = (*at, "select", "candidates", index, "input")
            if name in named[:index]:
                findings.error("select_candidates", here, f"the input '{name}' is a candidate twice")
            elif name not in node.inputs and facts.whole:
                findings.error(
                    "select_candidates",
                    here,
                    f"nothing is wired to '{name}'",
                    did_you_mean(name, node.inputs),
                )
        for name in node.inputs:
            if name not in named:
                message = f"'{name}' is wired but is no candidate, so it can never be chosen"
                findings.error("select_candidates", (*at, "select", "candidates"), message)
        early = [one.input for one in spec.candidates[:-1] if one.when is None]
        if early:
            message = f"'{early[0]}' always holds, so no candidate after it is ever chosen"
            findings.warning(
                "select_shadowed", (*at, "select", "candidates"), message, "Give it a `when`, or put it last"
            )


def isolation_is_possible(facts: Facts, findings: Findings) -> None:
    for node in facts.nodes:
        spec, at = node.placed.spec, node.placed.path
        if spec.isolate is None:
            if spec.limits is not None:
                message = "limits hold a process, and this node has none of its own"
                findings.error(
                    "limits_unused", (*at, "limits"), message, "Add `isolate: process`", at_key=True
                )
            continue
        if node.role is not Role.SYNC:
            message = f"'{node.id}' is no sync node: a {node.role} node is not run by the kernel's step"
            findings.error("isolate_unused", (*at, "isolate"), message, "Remove it", at_key=True)
        taken = [kind for kinds in node.inputs.values() for kind in kinds]
        if len(taken) != len(set(taken)):
            message = f"two inputs of '{node.id}' take the same kind, and a process is told kinds, not ports"
            findings.error("isolate_ports", (*at, "isolate"), message, "Merge what feeds it first")
        if EventKind.ERROR in (kind for kinds in node.outputs.values() for kind in kinds):
            message = f"'{node.id}' gives errors, which do not come back from a process"
            findings.error("isolate_ports", (*at, "isolate"), message)
        if spec.on_failure is OnFailure.DEAD_LETTER:
            message = f"'{node.id}' in its own process is a call, and a failed call has no dead letter"
            findings.error("isolate_dead_letter", (*at, "on_failure"), message, "Use `degrade` or a fallback")


# --- edges --------------------------------------------------------------------------------------------------


def credits_need_credit_flow(facts: Facts, findings: Findings) -> None:
    for link in facts.wiring.links:
        spec = link.wire.spec
        if spec.credits is not None and spec.flow in (None, FlowMode.SIGNAL):
            message = "credits mean nothing to an edge that is slowed by signals"
            findings.error(
                "credits_unused", (*link.wire.path, "credits"), message, "Write `flow: credit` or `hybrid`"
            )


def conditions_can_hold(facts: Facts, findings: Findings) -> None:
    """`in` asks for a list, an order asks for a number, and nothing else does."""
    for link in facts.wiring.links:
        if link.wire.spec.when is not None:
            _check_condition(link.wire.spec.when, (*link.wire.path, "when"), findings)
    for node in facts.nodes:
        spec = node.placed.spec.select
        for index, candidate in enumerate(spec.candidates if spec else ()):
            if candidate.when is not None:
                at = (*node.placed.path, "select", "candidates", index, "when")
                _check_condition(candidate.when, at, findings)


def _check_condition(condition: ConditionSpec, at: Path, findings: Findings) -> None:
    value, op = condition.value, condition.op
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if (op == "in") is not isinstance(value, tuple):
        hint = "Write `op: in` with a list, or another op with one value"
        findings.error("condition_value", (*at, "value"), f"'{op}' cannot be asked of this value", hint)
    elif op in ("lt", "le", "gt", "ge") and not number:
        findings.error("condition_value", (*at, "value"), f"'{op}' compares numbers", "Use `eq` for words")


def scopes_run_forward(facts: Facts, findings: Findings) -> None:
    """What lives for the session would mix turns if turns fed it; only a sink may, for it fences each output."""
    for link in facts.wiring.links:
        source, target = facts.wiring.nodes[link.source], facts.wiring.nodes[link.target]
        if source.scope == "turn" and target.scope == "session" and target.role is not Role.SINK:
            message = f"'{source.id}' lives for a turn and feeds '{target.id}', which lives for the session"
            hint = f"Give '{target.id}' turn scope, or '{source.id}' session scope"
            findings.error("scope_backwards", link.wire.target_path, message, hint)


# --- the whole graph ----------------------------------------------------------------------------------------


def caller_is_at_both_ends(facts: Facts, findings: Findings) -> None:
    roles = {node.role for node in facts.nodes}
    for role, kind in ((Role.SOURCE, "transport.in"), (Role.SINK, "transport.out")):
        if role not in roles:
            message = f"the pipeline has no {role}"
            findings.error(f"{role}_missing", ("nodes",), message, f"Add a node of type `{kind}`")


# Node types that may choose their provider by `providers.<type>`.
DETECTORS: Final = frozenset(["vad", "end_of_turn"])


def providers_are_named(facts: Facts, findings: Findings) -> None:
    providers = facts.normalised.providers
    needed = {
        node.kind.modality: node for node in reversed(list(facts.nodes)) if node.kind.modality is not None
    }
    # A detector has a default, so naming one is a choice and not a duty.
    detectors = {node.kind.name for node in facts.nodes} & DETECTORS
    for modality, node in sorted(needed.items()):
        if modality not in providers and modality not in facts.written_providers:
            message = f"the node '{node.id}' needs a provider: the field 'providers.{modality}' is missing"
            hint = f"Add `providers: {{{modality}: [id]}}`"
            findings.error("provider_missing", ("providers",), message, hint)
    for modality in providers:
        if modality not in needed and modality not in detectors:
            setting = facts.normalised.settings[f"providers.{modality}"]
            message = f"no node needs a provider of '{modality}'"
            setting.findings.warning("provider_unused", setting.path, message, at_key=True)


def settings_have_their_provider(facts: Facts, _findings: Findings) -> None:
    """Settings that nobody uses are most often a misspelt name."""
    named = {name for names in facts.normalised.providers.values() for name in names}
    for name in facts.normalised.provider_settings:
        if name not in named:
            setting = facts.normalised.settings[f"provider_settings.{name}"]
            message = f"there are settings for '{name}', which no list of `providers` names"
            setting.findings.warning(
                "settings_unused", setting.path, message, did_you_mean(name, named), at_key=True
            )


def node_settings_hold_no_secret(facts: Facts, findings: Findings) -> None:
    for node in facts.nodes:
        for at, message in literal_secrets(node.placed.spec.config, (*node.placed.path, "config")):
            findings.error("literal_secret", at, message, HINT)


def everything_is_reached(facts: Facts, findings: Findings) -> None:
    after: dict[str, list[str]] = {node.id: [] for node in facts.nodes}
    for link in facts.wiring.links:
        after[link.source].append(link.target)
    for node in facts.nodes:
        fallback = fallback_of(node)
        if fallback in after:
            after[node.id].append(fallback)
    reached = {node.id for node in facts.nodes if node.role is Role.SOURCE}
    # Topological order: one pass is enough.
    for node in facts.nodes:
        if node.id in reached:
            reached.update(after[node.id])
    leading = {node.id for node in facts.nodes if node.role is Role.SINK}
    for node in reversed(list(facts.nodes)):
        if leading.intersection(after[node.id]):
            leading.add(node.id)
    for node in facts.nodes:
        if node.id not in reached:
            message = f"nothing from the caller reaches the node '{node.id}'"
            findings.warning("unreachable", node.placed.path, message, "Wire it, or remove it")
        elif node.id not in leading and not _informs(node):
            message = f"nothing of the node '{node.id}' reaches the caller"
            findings.warning("dead_end", node.placed.path, message, "Wire its output, or remove it")


def _informs(node: Resolved) -> bool:
    """A detector's control output is read by the kernel itself; a node without outputs acts outside."""
    return all(kinds == CONTROL for kinds in node.outputs.values())


def modules_are_used(facts: Facts, findings: Findings) -> None:
    spec = facts.normalised.spec
    used = {node.use for node in spec.nodes.values()}
    used |= {node.use for module in spec.subgraphs.values() for node in module.nodes.values()}
    for name, module in spec.subgraphs.items():
        if f"{name}@{module.version}" not in used:
            message = f"no node uses the module '{name}@{module.version}'"
            findings.warning("module_unused", ("subgraphs", name), message, "Pin it in a node, or remove it")


def speculation_has_no_effects(facts: Facts, findings: Findings) -> None:
    """A speculative answer may be thrown away; a booking that it made cannot."""
    if not facts.normalised.policies.turn_taking.speculation:
        return
    for node in facts.nodes:
        if node.kind.config is ToolConfig and node.config.get("has_effects", True):
            message = f"the tool '{node.id}' has effects and speculation is on: a wrong guess would act"
            hint = "Set policies.turn_taking.speculation: false, or has_effects: false if it only looks things up"
            findings.warning("speculative_effects", node.placed.path, message, hint)


RULES: Final[tuple[Rule, ...]] = (
    metadata_is_free_of_field_names,
    versions_are_explicit,
    fields_belong_to_their_type,
    fallbacks_can_take_over,
    merges_join,
    selects_choose,
    credits_need_credit_flow,
    conditions_can_hold,
    scopes_run_forward,
    isolation_is_possible,
    node_settings_hold_no_secret,
)
WHOLE_GRAPH_RULES: Final[tuple[Rule, ...]] = (
    caller_is_at_both_ends,
    providers_are_named,
    settings_have_their_provider,
    everything_is_reached,
    modules_are_used,
    speculation_has_no_effects,
)
