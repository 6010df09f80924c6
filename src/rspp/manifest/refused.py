"""How a manifest says no: a code, a sentence, and everything that would have to be there."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from rspp.contract.errors import MisuseError


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is missing or wrong: what it is, and what to do about it, each as a sentence."""

    code: str
    what: str
    fix: str


class Refused(MisuseError):  # noqa: N818 - as the tree of errors has it
    """The update may not be said, and nothing has changed. `missing` is all of what stands in its way."""

    def __init__(
        self, code: str, message: str, path: str | None = None, missing: Iterable[Missing] = ()
    ) -> None:
        super().__init__(code, message, path)
        self.missing = tuple(missing)


def listed(missing: Iterable[Missing]) -> str:
    """What is missing as the end of one sentence."""
    return "; ".join(one.what for one in missing)


__all__ = ["Missing", "Refused", "listed"]
