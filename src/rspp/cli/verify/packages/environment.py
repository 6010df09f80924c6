"""What is installed beside the program that looks: each distribution once, as its own records tell it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

import msgspec

from rspp.cli.verify.packages.declared import canonical

# More than any environment has; a bound on what is looked at, said where it is reached.
DISTRIBUTIONS_MAX: Final = 5_000
# They come with every environment, and no lock has them.
TOOLS: Final = frozenset({"pip", "setuptools", "wheel"})


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: str
    home: Path  # the folder that its records are relative to
    distribution: Distribution

    @property
    def is_editable(self) -> bool:
        """Does it stand for a folder that somebody works in?"""
        text = self.distribution.read_text("direct_url.json") or ""
        try:
            told = msgspec.json.decode(text) if text else {}
        except (msgspec.DecodeError, UnicodeError):
            return False
        info = told.get("dir_info") if isinstance(told, dict) else None
        return isinstance(info, dict) and info.get("editable") is True


def every(path: list[str] | None = None) -> Iterator[Installed]:
    """Each distribution on the path, those too that another one of the same name hides."""
    for count, one in enumerate(distributions(path=sys.path if path is None else path)):
        if count >= DISTRIBUTIONS_MAX:
            return
        told = one.metadata["Name"] if one.metadata and "Name" in one.metadata else ""
        home = Path(str(one.locate_file("")))
        name = canonical(told) if told else ""
        yield Installed(name=name, version=one.version or "", home=home, distribution=one)


def installed(path: list[str] | None = None) -> tuple[Installed, ...]:
    """Each name once: what stands first on the path hides the others, as an import does."""
    found: dict[str, Installed] = {}
    for one in every(path):
        if one.name:
            found.setdefault(one.name, one)
    return tuple(found.values())
