"""What peers write beside their texts: names stay but for what is found in them, free values as the policy says.

A value that a condition of the pipeline asks about stays as it is, or the kernel would decide differently; it stands in the
pipeline, so it is nobody's secret.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from rspp.kernel.shapes import NUMBER_DIGITS_MIN
from rspp.timeline.redaction.known import Known
from rspp.timeline.redaction.patterns import find, merged
from rspp.timeline.redaction.standins import StandIns

DEPTH_MAX: Final = 16
RENAMED_MAX: Final = 256
NAME_CHARACTERS_MAX: Final = 4_096  # what is longer is no name, and is not searched
KIND_CHARACTERS: Final = 64  # as much of a kind as the kernel repeats


class Values:
    """The small values of one session. `changed` counts those that are not what they were."""

    __slots__ = ("_kinds", "_known", "_renamed", "_standins", "changed", "literals")

    def __init__(self, standins: StandIns, known: Known, kinds: Callable[[], Collection[str]]) -> None:
        self._standins, self._known, self._kinds = standins, known, kinds
        self._renamed: dict[str, str] = {}  # bounded: RENAMED_MAX
        self.literals: frozenset[str] = frozenset()
        self.changed = 0

    def name(self, name: str) -> str:
        """A name, with something else of the same shape for what is found in it."""
        if name in self.literals:
            return name
        known = self._renamed.get(name)
        if known is not None:
            return known
        if len(name) > NAME_CHARACTERS_MAX:
            self.changed += 1
            return self._standins.opaque(name)
        spans = find(name, self._kinds())
        self._known.learn(name, spans)
        again = list(self._known.seen_in(name))
        if again:
            spans = merged([*again, *((one.start, one.end, one.kind) for one in spans)])
        if not spans:
            return name
        whole = name
        for span in spans:
            name = name[: span.start] + self._standins.opaque(name[span.start : span.end]) + name[span.end :]
        self.changed += 1
        if len(self._renamed) >= RENAMED_MAX:
            del self._renamed[next(iter(self._renamed))]
        self._renamed[whole] = name
        return name

    def repeated(self, text: str) -> str:
        """A sentence of ours that repeats a name."""
        told = text
        for name, renamed in self._renamed.items():
            told = told.replace(name[:KIND_CHARACTERS], renamed[:KIND_CHARACTERS])
        return self.name(text) if told == text else told

    def value(self, value: object, *, hide: bool, depth: int = 0) -> object:
        """A free value: as it is but for what is found in it, or only its shape."""
        if isinstance(value, str):
            if not hide or value in self.literals:
                return self.name(value)
            standin = self._standins.text(value)
            self.changed += standin != value
            return standin
        if isinstance(value, int) and not isinstance(value, bool):
            return self._number(value, hide=hide)
        if isinstance(value, float) and value.is_integer():
            return float(self._number(int(value), hide=hide))  # a number of somebody's, as JSON may write it
        if isinstance(value, bytes):
            self.changed += bool(value)
            return bytes(len(value))
        if depth >= DEPTH_MAX:
            self.changed += 1
            return None
        if isinstance(value, list | tuple):
            return [self.value(one, hide=hide, depth=depth + 1) for one in value]
        if isinstance(value, dict):
            return {
                self._key(str(key), hide=hide): self.value(one, hide=hide, depth=depth + 1)
                for key, one in value.items()
            }
        return value

    def hidden(self, value: object) -> object:
        return self.value(value, hide=True)

    def _key(self, key: str, *, hide: bool) -> str:
        return self._standins.opaque(key) if hide and key not in self.literals else self.name(key)

    def _number(self, value: int, *, hide: bool) -> int:
        digits = str(abs(value))
        if len(digits) < NUMBER_DIGITS_MIN or not (hide or find(digits, self._kinds())):
            return value
        self.changed += 1
        other = int("1" + self._standins.opaque(digits)[1:])
        return other if value > 0 else -other
