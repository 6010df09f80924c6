"""Whatever is told of a session, in whichever way, says of which session, turn and version; and all ways say the same.

problems = joined(events=..., spans=..., logs=..., metrics=...)      each a record's ids, by name; [] if all is well
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

IDS: Final = ("session_id", "turn_id", "pipeline_version")
Ids = Mapping[str, object]


def joined(**kinds: Iterable[Ids]) -> list[str]:
    """What is missing or contradicts, one sentence each. The records are to be of turns: then each has all three."""
    faults: list[str] = []
    versions: dict[object, dict[object, str]] = defaultdict(dict)
    owners: dict[object, dict[object, str]] = defaultdict(dict)
    seen: dict[str, set[object]] = {}
    for kind, records in kinds.items():
        turns = seen[kind] = set()
        for ids in records:
            faults += [f"one of the {kind} lacks {name}" for name in IDS if not ids.get(name)]
            session, turn, version = (ids.get(name) for name in IDS)
            if session and version:
                versions[session].setdefault(version, kind)
            if turn and session:
                owners[turn].setdefault(session, kind)
                turns.add(turn)
    for session, found in versions.items():
        if len(found) > 1:
            faults.append(f"session {session} is of {_contradicted(found)}")
    for turn, found in owners.items():
        if len(found) > 1:
            faults.append(f"turn {turn} is of {_contradicted(found)}")
    common = set.intersection(*seen.values()) if seen else set()
    if not common:
        faults.append(f"no turn is told of in all ways: {', '.join(seen)}")
    return faults


def _contradicted(found: Mapping[object, str]) -> str:
    return ", ".join(f"{value} by its {kind}" for value, kind in found.items())
