"""Whether an update may be said, and what the document is afterwards. Pure: time, chance and files come in as facts."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rspp.manifest.document import Document


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules may know of the world when they decide: gathered by the shell just before, under the lock."""

    today: str  # 0000-00-00
    token: str = ""  # a fresh one, should one be needed
    run_id: str = ""  # a fresh one, likewise
    changelog: str = ""
    # Each file that the update or the document refers to, by the path as it is written: its SHA-256, "" where there is none.
    files: Mapping[str, str] = {}
    # What VAL_REPORT's file says, if it can be read.
    report: bytes | None = None
    # Files under NO_GO_LIST as they were when the step was routed, and as they are.
    guarded_before: Mapping[str, str] = {}
    guarded_now: Mapping[str, str] = {}
    used_tokens: frozenset[str] = frozenset()  # their SHA-256
    trace_faults: tuple[str, ...] = ()  # what is wrong with the trace; an update is refused with it
    # Keys of ledgers that the trace has lines for, in this step: an entry without one was written by hand.
    told: frozenset[str] = frozenset()


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    document: Document
    wrote: tuple[str, ...]  # sections, in the file's order
