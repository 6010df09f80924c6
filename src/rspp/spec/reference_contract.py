"""The reference of the contract's closed lists: signals, stable codes and the five error classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rspp.contract.codes import CODES
from rspp.contract.errors import ERROR_CLASSES
from rspp.contract.signals import CORE_SIGNALS, SIGNALS

SCOPES: Final = {"session": "session", "turn": "turn", "any": "session or turn"}


def signals() -> Iterator[str]:
    """One row a signal, in the registry's order."""
    yield f"The registry is closed: {len(SIGNALS)} signals, all on the ControlLane with payload class `metadata`. The first"
    yield f"{CORE_SIGNALS} are the contract's; the rest are RSPP's own. A signal from a module that is not named beside it is"
    yield "refused (`signal_emitter_illegal`), and so is one without a field that it must carry. `detail.x` is a key of the"
    yield "signal's detail."
    yield ""
    yield "| signal | meaning | emitted by | scope | must carry |"
    yield "| --- | --- | --- | --- | --- |"
    for name, rule in SIGNALS.items():
        emitters, required = _words(rule.emitters), _words(rule.requires)
        yield f"| `{name}` | {rule.meaning} | {emitters} | {SCOPES[rule.scope]} | {required} |"


def codes() -> Iterator[str]:
    """The error classes, then one row a code, in the table's order."""
    yield "A code is stable: programs may rely on it, and it is never reused. The words beside it may change. The problems of"
    yield "a spec have codes of their own, which `rspp lint` prints with what to do."
    yield ""
    yield "## Error classes"
    yield ""
    yield "What the platform does by itself about the five kinds of error that a session may meet."
    yield ""
    yield "| class | default action | retried | what must be on record |"
    yield "| --- | --- | --- | --- |"
    for kind in ERROR_CLASSES.values():
        yield f"| `{kind.name}` | {kind.default_action} | {kind.retry} | {', '.join(kind.evidence)} |"
    yield ""
    yield "`conditional`: when the policy allows it, attempts are left and the budget outlasts the wait."
    yield ""
    yield "## Codes"
    yield ""
    yield "| code | what it says | what to do |"
    yield "| --- | --- | --- |"
    for code, rule in CODES.items():
        yield f"| `{code}` | {rule.meaning} | {rule.remedy} |"


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)
