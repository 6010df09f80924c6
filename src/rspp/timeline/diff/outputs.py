"""Both runs' turns side by side: what was said, how alike it sounds, how long each stage took, who served it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final

import msgspec

from rspp.timeline.diff.sound import similarity
from rspp.timeline.story import Story
from rspp.timeline.waterfall import questions, watched, waterfalls

WORDS_MAX: Final = 2_000


class TurnSide(msgspec.Struct, frozen=True, kw_only=True):
    """One turn in one run. `said` is None where no kernel ran that could say it again."""

    turn_id: str
    heard: str | None = None  # what the caller said
    said: str | None = None  # what was sent toward the caller
    ending: str = "none"
    samples_sent: int = 0
    calls: int = 0
    providers: dict[str, list[str]] = {}  # modality -> providers that were asked, in order
    whole_ms: float | None = None
    stages_ms: dict[str, float] = {}


class TurnPair(msgspec.Struct, frozen=True, kw_only=True):
    """One turn in both runs."""

    expected: TurnSide | None
    got: TurnSide | None
    same_text: bool | None = None
    text_similarity: float | None = None  # of words, from 0 to 1
    audio_similarity: float | None = None  # see `sound`; None without sound
    stages_apart_ms: dict[str, float] = {}


def side_by_side(
    expected: Story, got: Story, turns: Sequence[tuple[str | None, str | None]]
) -> list[TurnPair]:
    """Every turn of either run."""
    left, right = _sides(expected), _sides(got)
    sounds = _sounds(expected), _sounds(got)
    return [
        _pair(
            left.get(mine or ""),
            right.get(other or ""),
            sounds[0].get(mine or ""),
            sounds[1].get(other or ""),
        )
        for mine, other in turns
    ]


Heard = tuple[int, bytearray]


def _pair(a: TurnSide | None, b: TurnSide | None, x: Heard | None, y: Heard | None) -> TurnPair:
    if a is None or b is None:
        return TurnPair(expected=a, got=b)
    known = a.said is not None and b.said is not None
    stages = {
        name: round(b.stages_ms.get(name, 0.0) - a.stages_ms.get(name, 0.0), 1)
        for name in dict.fromkeys((*a.stages_ms, *b.stages_ms))
    }
    return TurnPair(
        expected=a,
        got=b,
        same_text=a.said == b.said if known else None,
        text_similarity=_alike(a.said or "", b.said or "") if known else None,
        audio_similarity=similarity(bytes(x[1]), bytes(y[1]), x[0], y[0]) if x and y else None,
        stages_apart_ms=stages,
    )


def _alike(left: str, right: str) -> float:
    if left == right:
        return 1.0
    words = SequenceMatcher(None, left.split()[:WORDS_MAX], right.split()[:WORDS_MAX], autojunk=False)
    return round(words.ratio(), 4)


def _sides(story: Story) -> dict[str, TurnSide]:
    falls = {fall.turn_id: fall for fall in waterfalls(story)}
    providers: dict[str, dict[str, list[str]]] = {}
    calls: dict[str, int] = {}
    endings: dict[str, str] = {}
    for item in story.items:
        if item.turn is None:
            continue
        endings.setdefault(item.turn, "none")
        if item.what == "invoke":
            calls[item.turn] = calls.get(item.turn, 0) + 1
            asked = providers.setdefault(item.turn, {}).setdefault(item.name, [])
            if item.facts["provider"] not in asked:
                asked.append(item.facts["provider"])
        elif item.what == "signal" and item.name in ("commit", "abort"):
            reason = item.facts.get("reason")
            endings[item.turn] = f"{item.name} ({reason})" if reason else item.name
    samples: dict[str, int] = {}
    for run in story.runs:
        samples[run.turn or ""] = samples.get(run.turn or "", 0) + run.samples
    said, heard = _said(story), _heard(story)
    return {
        turn: TurnSide(
            turn_id=turn,
            heard=heard.get(turn),
            said=said.get(turn, "") if story.said else None,
            ending=ending,
            samples_sent=samples.get(turn, 0),
            calls=calls.get(turn, 0),
            providers=providers.get(turn, {}),
            whole_ms=falls[turn].whole_ms if turn in falls else None,
            stages_ms=falls[turn].stages_ms if turn in falls else {},
        )
        for turn, ending in endings.items()
    }


def _said(story: Story) -> dict[str, str]:
    out: dict[str, list[str]] = {}
    for one in story.said:
        if one.role == "assistant" and one.turn is not None and one.text.strip():
            out.setdefault(one.turn, []).append(one.text.strip())
    return {turn: " ".join(texts) for turn, texts in out.items()}


def _heard(story: Story) -> dict[str, str]:
    """The caller's words that each turn answers."""
    asked = questions(story, watched(story))
    return {turn: " ".join(one.text.strip() for one in words) for turn, words in asked.items() if words}


def _sounds(story: Story) -> dict[str, Heard]:
    """Turn -> rate and samples of all that was sent of it; nothing where the recording has no sound."""
    out: dict[str, Heard] = {}
    if not story.has_sound:
        return out
    for frame in story.frames:
        if frame.turn is not None:
            out.setdefault(frame.turn, (frame.rate, bytearray()))[1].extend(frame.data)
    return out
