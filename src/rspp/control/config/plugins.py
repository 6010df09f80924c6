"""A deployment's own policy is a function: of what is asked and what is known, to what is to be done about it; and nothing more.

A package offers one under the entry point group `rspp.policies`, and a policy names it. It is loaded when it is first named,
called once for each version of the view, and may only choose among what the policies left: it cannot let in what they
forbid. One that is missing, raises or answers nonsense has failed, and the policy says what then holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

import msgspec

from rspp.contract.errors import PeerFault
from rspp.contract.words import AdaptiveAction

GROUP: Final = "rspp.policies"
FACTS_MAX: Final = 50


class PolicyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """For whom a snapshot is made."""

    tenant_id: str
    pipeline: str
    version: str
    region: str
    tier: str = ""
    languages: tuple[str, ...] = ()


class PolicySight(msgspec.Struct, frozen=True, kw_only=True):
    """What the policies came to, and what is known of the providers."""

    providers: Mapping[str, tuple[str, ...]]
    health: Mapping[str, str]
    price: Mapping[str, int]
    circuits_open: tuple[str, ...] = ()
    facts: Mapping[str, str | int | float | bool] = {}


class PolicyAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the function wants. `deny` is a reason to take no new turns of this tenant."""

    providers: dict[str, tuple[str, ...]] = {}
    allowed_adaptive_actions: tuple[AdaptiveAction, ...] | None = None
    facts: dict[str, str | int | float | bool] = {}
    deny: str | None = None


PolicyFunction = Callable[[PolicyRequest, PolicySight], PolicyAnswer | None]


def offered() -> Sequence[EntryPoint]:
    return tuple(entry_points(group=GROUP))


class Plugins:
    """The functions that policies have named, loaded once each."""

    def __init__(self, points: Callable[[], Sequence[EntryPoint]] = offered) -> None:
        self._points = points
        self._loaded: dict[str, PolicyFunction] = {}  # bounded: by the entry points that are installed

    def ask(self, name: str, request: PolicyRequest, sight: PolicySight) -> PolicyAnswer:
        """Its answer; raises PeerFault `policy_plugin_failed` for whatever goes wrong with it."""
        function = self._function(name)
        try:
            answer: Any = function(request, sight)
        except Exception as error:  # a stranger's code: its failure has a declared outcome
            raise PeerFault(
                "policy_plugin_failed", f"the policy plugin {name!r} raised {type(error).__name__}"
            ) from error
        if answer is None:
            return PolicyAnswer()
        fault = _fault(answer, sight)
        if fault is not None:
            raise PeerFault("policy_plugin_failed", f"the policy plugin {name!r} {fault}")
        return answer  # type: ignore[no-any-return]

    def _function(self, name: str) -> PolicyFunction:
        if name in self._loaded:
            return self._loaded[name]
        points = [point for point in self._points() if point.name == name]
        if len({point.value for point in points}) != 1:
            many = "more than one package offers" if points else "no installed package offers"
            raise PeerFault("policy_plugin_failed", f"{many} the policy plugin {name!r}")
        try:
            loaded = points[0].load()
        except Exception as error:  # a stranger's package: likewise
            raise PeerFault(
                "policy_plugin_failed", f"the policy plugin {name!r} does not load: {type(error).__name__}"
            ) from error
        if not callable(loaded):
            raise PeerFault("policy_plugin_failed", f"the policy plugin {name!r} is no function")
        self._loaded[name] = loaded
        return loaded  # type: ignore[no-any-return]


def _fault(answer: object, sight: PolicySight) -> str | None:
    """How an answer is none."""
    if not isinstance(answer, PolicyAnswer):
        return f"answered with a {type(answer).__name__}, no PolicyAnswer"
    try:
        msgspec.convert(msgspec.to_builtins(answer), PolicyAnswer)
    except (msgspec.ValidationError, TypeError, ValueError):
        return "answered with fields of the wrong type"
    for modality, names in answer.providers.items():
        foreign = [name for name in names if name not in sight.providers.get(modality, ())]
        if foreign or not names or len(set(names)) != len(names):
            return f"chose for {modality} what is not among its candidates"
    if len(answer.facts) > FACTS_MAX:
        return f"told more than {FACTS_MAX} facts"
    return None
