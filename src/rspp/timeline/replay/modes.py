"""The mode of a replay is said, never guessed: where the outputs come from, and who decides. Results name it too.

    outputs     re_simulate_nodes                    nodes run again, models say what was recorded
                playback_recorded_provider_outputs   nothing runs: what was recorded is told
                live_providers                       providers are really called again
    decisions   replay_decisions                     under the flags, the graph and the policies of the recording
                recompute_decisions                  under today's flags, and another pipeline if one is given

The names are the wire's; there are no others for them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError


class Outputs(StrEnum):
    RE_SIMULATE = "re_simulate_nodes"
    PLAYBACK = "playback_recorded_provider_outputs"
    LIVE = "live_providers"


class Decisions(StrEnum):
    REPLAY = "replay_decisions"
    RECOMPUTE = "recompute_decisions"


EXPLAINED: Final = {
    Outputs.RE_SIMULATE: "nodes run again, models say what was recorded: finds what the code now does otherwise",
    Outputs.PLAYBACK: "only what was recorded is told; nothing runs and nobody is called",
    Outputs.LIVE: "the providers are really called again, in real time",
}


class Mode(msgspec.Struct, frozen=True, kw_only=True):
    """Both axes."""

    outputs: Outputs
    decisions: Decisions = Decisions.REPLAY

    def __str__(self) -> str:
        return f"{self.outputs.value}+{self.decisions.value}"


def mode_of(outputs: str | None, decisions: str | None = None) -> Mode:
    """The mode of these two names; raises MisuseError for none, for aliases, and for what cannot be had."""
    if not outputs:
        raise MisuseError(
            "replay_mode_missing", f"say where outputs come from: {', '.join(Outputs)}", "mode.outputs"
        )
    if outputs not in tuple(Outputs):
        raise MisuseError(
            "replay_mode_unknown", f"{outputs!r} is none of {', '.join(Outputs)}", "mode.outputs"
        )
    if decisions is not None and decisions not in tuple(Decisions):
        raise MisuseError(
            "replay_mode_unknown", f"{decisions!r} is none of {', '.join(Decisions)}", "mode.decisions"
        )
    mode = Mode(outputs=Outputs(outputs), decisions=Decisions(decisions or Decisions.REPLAY))
    if mode.outputs is Outputs.PLAYBACK and mode.decisions is Decisions.RECOMPUTE:
        raise MisuseError(
            "replay_inputs_insufficient",
            "a playback runs no kernel, so nothing in it can decide anew; decisions are recomputed by "
            f"{Outputs.RE_SIMULATE} or {Outputs.LIVE}",
            "mode.decisions",
        )
    return mode


def agree(asked: Mode, outputs: str, decisions: str) -> None:
    """A result must be of the mode that was asked for; raises MisuseError."""
    if (outputs, decisions) != (asked.outputs.value, asked.decisions.value):
        raise MisuseError(
            "replay_mode_mismatch", f"asked for {asked}, and the result says {outputs}+{decisions}", "mode"
        )
