"""The story that is to be compared: as it was recorded, or as this code does it again.

What is sent is not recorded, it follows from the inputs. So where a replay does exactly the recorded thing, its words and sounds are
the recording's own and are shown as such; where it does not, the recorded story has none.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rspp.contract.errors import MisuseError
from rspp.kernel.hosting import NodeFactory
from rspp.timeline.recording import Recording
from rspp.timeline.replay.exact import ExactRun
from rspp.timeline.replay.modes import Mode, Outputs
from rspp.timeline.story import Story, told

EXACT = Mode(outputs=Outputs.RE_SIMULATE)


def replayed(recording: Recording, factories: Mapping[str, NodeFactory], label: str | None = None) -> Story:
    """The recording done again by this code; raises MisuseError if its inputs are not there."""
    run = ExactRun(recording, factories, EXACT, frames=not recording.without_sound)
    while run.step() is not None:
        pass
    return run.story(label or f"{recording.session_id}@replay")


def recorded(recording: Recording, factories: Mapping[str, NodeFactory], label: str | None = None) -> Story:
    """The recording as it is, with what can be proven to have been said."""
    story = told(recording, label)
    if story.digest is None:
        return story
    try:
        again = replayed(recording, factories)
    except MisuseError:
        return story
    if again.digest != story.digest:
        return story
    return msgspec.structs.replace(
        story, said=again.said, frames=again.frames, evidence=again.evidence | story.evidence
    )


__all__ = ["EXACT", "recorded", "replayed"]
