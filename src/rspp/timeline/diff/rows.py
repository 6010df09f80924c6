"""An item named without what differs between equal runs: ids, runtime sequences, counters and the clock's zero.

A fact has one role. `SAME` facts must be equal and help to find which items belong together. `IDS` must be equal up to renaming,
`COUNTERS` up to a shift, which an inserted item explains. Times are taken from the item's own time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.kernel.trace import Item
from rspp.timeline.diff.findings import DivergenceClass as Kind
from rspp.timeline.story import Story


class Role(Enum):
    """What a fact must be in two equal runs."""

    SAME = auto()  # equal
    ID = auto()  # equal up to renaming
    COUNTER = auto()  # equal up to a shift
    TIME = auto()  # within the tolerance, in milliseconds
    TEXT = auto()  # equal; what is made of it later differs with it
    MEMORY = auto()  # a digest over earlier texts: differs because they do
    EPOCH = auto()  # equal; up to a shift between two sessions


_ROLES: Final[Mapping[str, Role]] = {
    **dict.fromkeys(("call", "call_id", "key", "record", "event_id", "subject", "candidate"), Role.ID),
    **dict.fromkeys(("utterance", "ordinal", "revision", "segment", "generation", "first"), Role.COUNTER),
    "transport_sequence": Role.COUNTER,
    **dict.fromkeys(("deadline", "runtime_timestamp_ms", "fence_at_ms", "retry_at"), Role.TIME),
    **dict.fromkeys(("chars", "shape"), Role.TEXT),
    **dict.fromkeys(("history", "history_shape"), Role.MEMORY),
    **dict.fromkeys(("authority_epoch", "target_epoch", "carried", "issued"), Role.EPOCH),
}
# Runtime sequences shift with every insertion; the wall clock is another one in every run; `sum` is over whole evidence, which
# is compared field by field.
_UNTOLD: Final = frozenset(
    {"event", "seq_range", "wall_clock_timestamp_ms", "session_id", "type", "sum", "sample_index"}
)
_CLASSES: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(
        ("plan_hash", "fingerprint", "config", "flags", "pipeline", "merge_rule", "seed"), Kind.PLAN
    ),
    **dict.fromkeys(("provider", "previous", "model"), Kind.PROVIDER_CHOICE),
}
_AUTHORITY_NAMES: Final = frozenset(
    {
        *("stale_epoch_reject", "deauthorized_drain", "lease_issued", "lease_rotated"),
        *("migration_start", "migration_finish", "session_handoff"),
    }
)
_PLAN_NAMES: Final = frozenset({"plan", "plan_resolved"})
_NUMBERS: Final = re.compile(r"\d+(?=/|$)")


class Row(msgspec.Struct, gc=False):
    """One item of a story, ready to be laid beside one of another."""

    number: int
    item: Item
    turn: str | None  # as this story calls it
    key: tuple[str, ...]
    same: bytes
    facts: dict[str, Any]  # flat, without what is not told
    text: str | None = None  # what was sent, where it is known

    @property
    def kind(self) -> Kind:
        """Of which class it is that this item is there or is not."""
        name = self.item.name
        if name in _AUTHORITY_NAMES or self.facts.get("outcome_kind") in _AUTHORITY_NAMES:
            return Kind.AUTHORITY
        if name in _PLAN_NAMES:
            return Kind.PLAN
        return Kind.PROVIDER_CHOICE if name == "provider_switch" else Kind.OUTCOME


def role_of(name: str, item: Item) -> Role:
    """What this fact must be."""
    last = name.rpartition(".")[2]
    role = _ROLES.get(last)
    if last == "shape" and item.what == "save_state":
        return Role.MEMORY
    if role is not None:
        return role
    is_time = last.endswith("_ms") and not last.startswith("limit")
    if is_time or (last == "value" and item.facts.get("unit") == "ms"):
        return Role.TIME
    return Role.SAME


def class_of(name: str) -> Kind:
    """Of which class a difference in this fact is."""
    return _CLASSES.get(name.rpartition(".")[2], Kind.OUTCOME)


def comparable(name: str, value: object, item: Item) -> object:
    """A fact as it can be compared: a time from the item's own, an id without its numbers."""
    last = name.rpartition(".")[2]
    if last in ("deadline", "retry_at") and isinstance(value, int):
        return (value - item.at) / NS_PER_MS
    if last in ("runtime_timestamp_ms", "fence_at_ms") and isinstance(value, int | float):
        return value - item.at // NS_PER_MS
    return value


_ENCODE: Final = msgspec.msgpack.Encoder(order="deterministic", enc_hook=str).encode


def rows(story: Story, names: Mapping[str, str]) -> list[Row]:
    """Every item of a story. `names` calls its turns as the other story calls them."""
    turns = set(turn_order(story))
    nodes = {
        item.facts.get("call"): str(item.facts.get("node", ""))
        for item in story.items
        if item.what == "invoke"
    }
    sent: dict[int, list[str]] = {}
    for one in story.said:
        sent.setdefault(one.step, []).append(one.text)
    made = []
    for number, item in enumerate(story.items):
        turn = item.turn or _subject(item, turns)
        facts = _flat(item.facts)
        node = (
            facts.get("node")
            or facts.get("node_id")
            or nodes.get(facts.get("call_id"))
            or facts.get("edge")
            or ""
        )
        label = names.get(turn, turn) if turn else ""
        key = (label, item.what, item.name, str(node))
        same = _ENCODE([value for name, value in sorted(facts.items()) if role_of(name, item) is Role.SAME])
        row = Row(number, item, turn, key, same, facts)
        if item.what == "send" and item.name == "text" and item.step in sent:
            texts = sent[item.step]
            row.text = texts.pop(0) if texts and len(texts[0]) == item.facts.get("chars") else None
        made.append(row)
    return made


def _subject(item: Item, turns: set[str]) -> str | None:
    """The turn that an item without one is about."""
    subject = item.facts.get("subject")
    if subject is None and isinstance(item.facts.get("detail"), dict):
        subject = item.facts["detail"].get("candidate")
    return subject if subject in turns else None


def turn_order(story: Story) -> list[str]:
    """The turns of a story, in the order in which they first appear."""
    return list(dict.fromkeys(item.turn for item in story.items if item.turn))


def _flat(facts: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in facts.items():
        if isinstance(value, dict):
            out.update(_flat(value, f"{before}{name}."))
        elif name not in _UNTOLD:
            out[before + name] = value
    return out


def unnumbered(identifier: object, session: str) -> str:
    """An id without its session and its numbers: what two runs' ids have in common."""
    text = str(identifier)
    if session:
        text = text.replace(session, "~")
    return _NUMBERS.sub("#", text)
