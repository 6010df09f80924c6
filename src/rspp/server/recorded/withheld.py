"""Why something of a session is not shown: for each reader in sentences, and never empty where something is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rspp.contract.words import PayloadClass, RecordingLevel
from rspp.control.fleet.status import SessionWord
from rspp.server.recorded.job import View
from rspp.server.recorded.places import Placed, part_name
from rspp.server.recorded.words import SessionItem
from rspp.timeline.access import Grant

NAMED_MAX: Final = 5
# A segment is sealed after so long at the latest, and then exported.
EXPORT_EVERY_S: Final = 30
_WHAT: Final = {PayloadClass.TEXT_RAW.value: "texts", PayloadClass.AUDIO_RAW.value: "pieces of sound"}


def nothing_recorded(item: SessionItem) -> str:
    """There is a session, and nothing of it can be read here."""
    if item.state == SessionWord.ENDED:
        return (
            "Nothing of this session is recorded where this server looks: it was not to be recorded, was not sampled, or what was "
            "kept is deleted."
        )
    return (
        f"Nothing of this session can be read here yet: {item.owner or 'its worker'} exports what it records every "
        f"{EXPORT_EVERY_S} s, or records nothing."
    )


def explained(view: View, runs: Sequence[Placed], grant: Grant, wall_ms: int) -> str:
    """What is missing of what is shown."""
    placed = runs[-1]
    entry = placed.found.entry
    said: list[str] = []
    if grant.fidelity is RecordingLevel.L0:
        said.append("You see what was decided, and nothing of what came in.")
    elif view.withheld:
        what = ", ".join(
            f"{one.count} {_WHAT.get(one.payload_class, one.payload_class)}" for one in view.withheld
        )
        said.append(f"Not shown to you: {what}.")
    if view.level == RecordingLevel.L0.value:
        said.append("It is recorded at level L0: nothing of what was said, heard or sent is kept.")
    if placed.live and not placed.found.local:
        seconds = max(0, wall_ms - entry.exported_wall_ms) // 1_000
        said.append(
            f"It goes on elsewhere: this is how far it was exported {seconds} s ago; that is done every {EXPORT_EVERY_S} s."
        )
    if entry.running and not placed.live:
        said.append("Its end is not recorded: its process was lost, or its last part is still on its way.")
    if placed.live and view.has_sound:
        said.append("Its sound can be heard once it is over.")
    if entry.dropped:
        said.append(f"Deleted since, because it was due: {', '.join(sorted(entry.dropped))}.")
    if len(runs) > 1:
        names = ", ".join(part_name(one) for one in runs[:-1][-NAMED_MAX:])
        said.append(f"Other parts of it are recorded apart: {names}.")
    said += [f"{problem[:1].upper()}{problem[1:]}." for problem in view.problems]
    return " ".join(said)
