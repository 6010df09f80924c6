"""Every limit of the journal in one place: what a record may hold, how long a page is, what is kept how long."""

from __future__ import annotations

from typing import Final

import msgspec

# ---- a record: characters ----------------------------------------------------------------------------------------
EVENT_ID_CHARACTERS_MAX: Final = 128
SOURCE_CHARACTERS_MAX: Final = 128
NAME_CHARACTERS_MAX: Final = 64  # a surface, a change type, an aggregate type
AGGREGATE_CHARACTERS_MAX: Final = 256
REFERENCE_CHARACTERS_MAX: Final = 512  # artifact_ref
CORRELATION_CHARACTERS_MAX: Final = 128
HINT_CHARACTERS_MAX: Final = 256
CHANGED_SURFACES_MAX: Final = 64
# What a double holds exactly: GraphQL and JavaScript read the number as one.
SEQUENCE_MAX: Final = 2**53 - 1

# ---- a record's metadata -----------------------------------------------------------------------------------------
KEYS_MAX: Final = 32  # of one map, the mark of what was cut included
KEY_CHARACTERS_MAX: Final = 64
DEPTH_MAX: Final = 4  # maps and lists in each other, the outermost included
ITEMS_MAX: Final = 32  # of one list, the mark of what was cut included
TEXT_CHARACTERS_MAX: Final = 512
METADATA_BYTES_MAX: Final = 4_096  # as JSON
# No more of a text is searched for secrets; what is behind it is never kept.
EXAMINED_CHARACTERS_MAX: Final = 4_096
NUMBER_MAX: Final = 2**63 - 1

# ---- a page ------------------------------------------------------------------------------------------------------
# The newest page is written anew with each batch, so its size is what a batch costs.
PAGE_RECORDS_MAX: Final = 128
PAGE_BYTES_MAX: Final = 128 * 1024
# What one `append` writes at once, and as a whole.
BATCH_RECORDS_MAX: Final = 64
BATCH_BYTES_MAX: Final = 64 * 1024
# A page that has so much is full. Any batch fits on one that is not.
PAGE_FULL_RECORDS: Final = PAGE_RECORDS_MAX - BATCH_RECORDS_MAX + 1
PAGE_FULL_BYTES: Final = 48 * 1024

# ---- what is kept ------------------------------------------------------------------------------------------------


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What compaction leaves alone, and how much it keeps of the rest."""

    # Kept whatever their age: some minutes of a busy fleet, days of a quiet one.
    records_min: int = 4_096
    # Kept while they are younger than this ...
    age_ms: int = 3_600_000
    # ... up to so many, or so much.
    records_max: int = 16_384
    bytes_max: int = 32 * 1024 * 1024
    # Of what is older, the newest record of each aggregate: so many, and so much; the oldest is forgotten first.
    # It is one value, and a server of JetStream takes 1 MiB unless it is told otherwise: room is left for what is beside it.
    kept_records_max: int = 4_096
    kept_bytes_max: int = 896 * 1024
    # Compaction costs a reading of what it takes away: it begins when it is worth it.
    due_pages_min: int = 16


WINDOW: Final = Window()
# How many new pages may come before it is asked again what was compacted.
KEPT_ASKED_PAGES: Final = 16

# ---- asking ------------------------------------------------------------------------------------------------------
LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000
PROBLEMS_MAX: Final = 1_000  # that one validation names
READ_AT_ONCE: Final = 16  # pages

# ---- writing -----------------------------------------------------------------------------------------------------
# How long `append` races with other writers before it gives up; the caller may try again with the same event_ids.
APPEND_MS_MAX: Final = 10_000
RACE_PAUSE_MS: Final = 2
RACE_PAUSE_MS_MAX: Final = 100
# Changes that wait in one process: some seconds of a store that does not answer. More are counted as lost.
QUEUE_CHANGES_MAX: Final = 4_096
RETRY_MS: Final = 100
# Less than the grace that whoever watches gives a record, so that an outage makes none of them late.
RETRY_MS_MAX: Final = 2_000
TIDY_AGAIN_MS: Final = 60_000  # a compaction that failed
