"""What a row of the tables of codes says."""

from __future__ import annotations

from typing import Final

import msgspec

# What to do about a code that can only be our own mistake.
OURS: Final = "Keep the session's journal and report it: this is a defect of RSPP."


class CodeRule(msgspec.Struct, frozen=True, gc=False):
    """What a code says, and what whoever reads it should do."""

    meaning: str
    remedy: str
