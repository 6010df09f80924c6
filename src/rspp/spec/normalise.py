"""Every setting gets one value and one origin: profile, then spec, then environment, tenant and session layers.

The later one wins. A layer has the shape of the spec's own `providers`, `provider_settings`, `budgets`, `targets` and `policies`,
so whatever can be said in one can be said in all, and what cannot is an error that names the layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from rspp.contract.plan import Budgets
from rspp.contract.words import Modality
from rspp.spec import provider_settings, source
from rspp.spec.graph import Targets
from rspp.spec.model import LayerSpec, PipelineSpec, PolicySettings, layer_of
from rspp.spec.problem import Findings, Path, nearest, shown
from rspp.spec.profile import ALIASES, ROWS, SOURCE

LayerName = Literal["environment", "tenant", "session"]
LAYER_ORDER: Final[tuple[LayerName, ...]] = ("environment", "tenant", "session")
EXPLICIT: Final = "explicit"
PROVIDERS_MAX: Final = 5  # contract §7

# Settings that are words, but whose type in the compiled graph is plain text.
WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "policies.bad_snapshot": ("defer", "reject"),
    "policies.caps.on_cap": ("truncate", "refuse"),
    "policies.degrade_on": tuple(Modality),
    "policies.recording_policy.allowed_replay_modes": (
        "re_simulate_nodes",
        "playback_recorded_provider_outputs",
        "replay_decisions",
        "recompute_decisions",
    ),
    "policies.turn_taking.digit_terminator": tuple("#*0123456789"),
    "policies.flow_control.shedding_strategy_by_lane.ControlLane": ("none",),
    "policies.flow_control.shedding_strategy_by_lane.DataLane": (
        "drop",
        "merge",
        "latest_only",
        "degrade",
        "fallback",
    ),
    "policies.flow_control.shedding_strategy_by_lane.TelemetryLane": ("drop", "sample"),
}


class Layer(msgspec.Struct, frozen=True):
    """One layer's text, as it was written by whoever owns it."""

    name: LayerName
    text: str
    file: str = "<layer>"

    @classmethod
    def of(cls, name: LayerName, settings: Mapping[str, object]) -> Layer:
        """A layer from plain data: JSON is YAML."""
        return cls(name, msgspec.json.encode(settings).decode(), f"<{name} layer>")


class Setting(msgspec.Struct, frozen=True):
    """A value, the layer that set it, and where to point when it turns out to be wrong."""

    value: Any
    origin: str
    findings: Findings
    path: Path


class NormalisedSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A spec of which every setting is decided; `settings` keeps where each came from."""

    spec: PipelineSpec
    profile: str
    settings: dict[str, Setting]
    budgets: Budgets
    targets: Targets
    policies: PolicySettings
    providers: dict[str, tuple[str, ...]]
    provider_settings: dict[str, provider_settings.Settings] = {}
    layer_findings: tuple[Findings, ...] = ()

    @property
    def origins(self) -> dict[str, str]:
        return {path: setting.origin for path, setting in self.settings.items()}


def normalise(spec: PipelineSpec, findings: Findings, layers: Iterable[Layer] = ()) -> NormalisedSpec:
    """Lay the layers over each other. Whatever a layer says wrongly is reported and left out."""
    profile = ALIASES.get(spec.profile)
    if profile is None:
        known = ", ".join(ALIASES)
        message = f"the profile '{spec.profile}' is not supported"
        findings.error("profile_unsupported", ("profile",), message, f"Use one of: {known}")
    settings = {path: Setting(row.value, SOURCE, findings, ()) for path, row in ROWS.items()}
    if spec.unknown_event_action is not None:
        path: Path = ("unknown_event_action",)
        settings["policies.unknown_events"] = Setting(spec.unknown_event_action, EXPLICIT, findings, path)
    _lay(
        settings,
        LayerSpec(
            providers=spec.providers,
            provider_settings=spec.provider_settings,
            budgets=spec.budgets,
            targets=spec.targets,
            policies=spec.policies,
        ),
        EXPLICIT,
        findings,
    )
    layer_findings: list[Findings] = []
    for layer in sorted(layers, key=lambda one: LAYER_ORDER.index(one.name)):
        read = source.read(layer.text, layer.file, f"the {layer.name} layer")
        layer_findings.append(read.findings)
        written = layer_of(read)
        if written is not None:
            _lay(settings, written, f"layer/{layer.name}", read.findings)
    return NormalisedSpec(
        spec=spec,
        profile=profile or spec.profile,
        settings=settings,
        budgets=msgspec.convert(_nested(settings, "budgets"), Budgets),
        targets=msgspec.convert(_nested(settings, "targets"), Targets),
        policies=msgspec.convert(_nested(settings, "policies"), PolicySettings),
        providers=_named(settings, "providers"),
        provider_settings=_named(settings, "provider_settings"),
        layer_findings=tuple(layer_findings),
    )


def _named(settings: Mapping[str, Setting], section: str) -> dict[str, Any]:
    """The values of a section whose entries are names, which may have dots in them, by name."""
    entries = ((path.partition("."), setting.value) for path, setting in settings.items())
    return dict(sorted((name, value) for (first, _, name), value in entries if first == section))


def _lay(settings: dict[str, Setting], layer: LayerSpec, origin: str, findings: Findings) -> None:
    for modality, ids in layer.providers.items():
        path: Path = ("providers", modality.value)
        candidates = (ids,) if isinstance(ids, str) else tuple(ids)
        if _candidates_are_sound(candidates, path, findings):
            settings[f"providers.{modality.value}"] = Setting(candidates, origin, findings, path)
    for name, given in layer.provider_settings.items():
        path = ("provider_settings", name)
        key = f"provider_settings.{name}"
        if provider_settings.are_sound(given, path, findings):
            below = settings[key].value if key in settings else None
            settings[key] = Setting(provider_settings.laid_over(below, given), origin, findings, path)
    sections = (("budgets", layer.budgets), ("targets", layer.targets), ("policies", layer.policies))
    for section, values in sections:
        for name, value in values.items():
            path = (section, *name.split("."))
            if _is_sound(f"{section}.{name}", value, path, findings):
                settings[f"{section}.{name}"] = Setting(value, origin, findings, path)


def _candidates_are_sound(ids: tuple[str, ...], path: Path, findings: Findings) -> bool:
    if len(set(ids)) != len(ids):
        findings.error("duplicate_provider", path, f"a provider is listed twice: {', '.join(ids)}")
    elif len(ids) > PROVIDERS_MAX:
        findings.error("too_many", path, f"at most {PROVIDERS_MAX} candidates allowed, found {len(ids)}")
    else:
        return True
    return False


def _is_sound(name: str, value: Any, path: Path, findings: Findings) -> bool:
    """A value within its row's bounds and words."""
    row = ROWS[name]
    if row.least is not None and value < row.least:
        findings.error("out_of_range", path, f"{shown(value)} is below the least allowed, {shown(row.least)}")
        return False
    if row.most is not None and value > row.most:
        findings.error("out_of_range", path, f"{shown(value)} is above the most allowed, {shown(row.most)}")
        return False
    return _words_are_known(WORDS.get(name), value, path, findings)


def _words_are_known(allowed: tuple[str, ...] | None, value: Any, path: Path, findings: Findings) -> bool:
    given = value if isinstance(value, tuple) else (value,)
    if allowed is not None:
        for word in given:
            if word not in allowed:
                hint = nearest(str(word), allowed)
                findings.error("unknown_word", path, f"'{word}' is not one of {', '.join(allowed)}", hint)
                return False
    if isinstance(value, tuple) and len(set(value)) != len(value):
        findings.error("duplicate_word", path, "the list says something twice")
        return False
    return True


def _nested(settings: Mapping[str, Setting], section: str) -> dict[str, Any]:
    """The settings of one section, back in the shape of its record."""
    tree: dict[str, Any] = {}
    for path, setting in settings.items():
        first, *inner = path.split(".")
        if first != section:
            continue
        place = tree
        for step in inner[:-1]:
            place = place.setdefault(step, {})
        place[inner[-1]] = msgspec.to_builtins(setting.value)
    return tree
