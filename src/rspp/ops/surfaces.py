"""The surfaces of one process, checked once when it starts: what is wrong with a declaration is told before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from rspp.contract.errors import MisuseError
from rspp.contract.surface import Coverage, Surface, Truth

# What changes with every change that it is derived from.
HEALTH: Final = "runtime_health"
ACTIONS: Final = "runtime_actions"


class Surfaces:
    """All declarations, by name and by where they lie."""

    def __init__(self, declared: Iterable[Surface]) -> None:
        self._of: dict[str, Surface] = {}  # bounded: by the declarations in the code
        for one in declared:
            if one.name in self._of:
                first, second = self._of[one.name].owner, one.owner
                raise MisuseError("surface_twice", f"{one.name} is declared by {first} and by {second}")
            self._of[one.name] = one
        for one in self._of.values():
            self._check(one)
        self._in: dict[str, list[tuple[str, Surface]]] = {}  # bounded: by the declarations in the code
        for one in self._of.values():
            for place in one.places:
                if place.bucket:
                    self._in.setdefault(place.bucket, []).append((place.prefix, one))

    def __iter__(self) -> Iterator[Surface]:
        return iter(self._of.values())

    def __len__(self) -> int:
        return len(self._of)

    def get(self, name: str) -> Surface | None:
        return self._of.get(name)

    def named(self, name: str) -> Surface:
        """The declaration; raises `MisuseError` for a name that nobody declared."""
        found = self._of.get(name)
        if found is None:
            raise MisuseError(
                "surface_unknown", f"no surface is called {name!r}; `rspp runtime state-surfaces` lists all"
            )
        return found

    def at(self, bucket: str, key: str) -> list[Surface]:
        """The canonical surfaces that this key belongs to."""
        return [one for prefix, one in self._in.get(bucket, ()) if key.startswith(prefix)]

    @property
    def buckets(self) -> tuple[str, ...]:
        """Every bucket in which a surface lies."""
        return tuple(self._in)

    def changed_with(self, surface: Surface) -> tuple[str, ...]:
        """What else is another after this one has changed: itself, what is derived from it, health and actions."""
        names = [surface.name]
        names += [one.name for one in self._of.values() if surface.name in one.derived_from]
        if surface.affects_health:
            names.append(HEALTH)
        if surface.affects_actions:
            names.append(ACTIONS)
        return tuple(dict.fromkeys(names))

    def _check(self, one: Surface) -> None:
        if one.truth is Truth.CANONICAL and one.derived_from:
            raise MisuseError("surface_invalid", f"{one.name} is canonical, and derived from nothing")
        if one.truth is Truth.DERIVED:
            if not one.derived_from:
                raise MisuseError("surface_invalid", f"{one.name} is derived, and must say from what")
            if one.coverage is Coverage.JOURNAL:
                raise MisuseError(
                    "surface_derived", f"{one.name} is derived: the journal records what it comes from"
                )
            for name in one.derived_from:
                if name not in self._of:
                    raise MisuseError(
                        "surface_unknown", f"{one.name} is derived from {name!r}, which nobody declared"
                    )
        if one.truth is Truth.DERIVED and one.places:
            raise MisuseError("surface_derived", f"{one.name} is derived, and lies in no store of its own")
        if any(place.bucket for place in one.places) and one.row is None:
            raise MisuseError("surface_invalid", f"{one.name} lies in the store, and nothing reads its rows")
