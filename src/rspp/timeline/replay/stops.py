"""Where a replay stops: after so many steps, at a turn, an event, a time, a signal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from rspp.contract.errors import MisuseError
from rspp.contract.signals import SignalName
from rspp.timeline.recording import Recording
from rspp.timeline.replay.exact import Taken

Stop = Callable[[Taken], str | None]
WORDS: Final = "turn:2, event:120, time:12.5s or signal:barge_in"
_SIGNALS: Final = frozenset(signal.value for signal in SignalName)


def until(text: str, recording: Recording) -> Stop:
    """What `--until` says; raises MisuseError. An event is named by its id or by its runtime sequence."""
    kind, _, what = text.partition(":")
    if kind == "turn" and what:
        return _turn(what)
    if kind == "event" and what:
        number = what.rpartition("/")[2]
        if number.isdigit():
            return _event(int(number), text)
    if kind == "time" and what:
        return _time(what, recording.began_at)
    if kind == "signal" and what:
        return at_signal([what])
    raise MisuseError("replay_stop_malformed", f"{text!r} is none of {WORDS}")


def at_signal(names: Iterable[str]) -> Stop:
    """Stops at any of these signals."""
    wanted = frozenset(names)
    unknown = wanted - _SIGNALS
    if unknown:
        raise MisuseError("signal_unknown", f"there is no signal {min(unknown)!r}")

    def stop(taken: Taken) -> str | None:
        for item in taken.items:
            if item.what == "signal" and item.name in wanted:
                return f"signal:{item.name}"
        return None

    return stop


def after(steps: int) -> Stop:
    """Stops after so many steps."""
    left = [steps]

    def stop(taken: Taken) -> str | None:
        left[0] -= 1
        return f"step:{taken.number}" if left[0] <= 0 else None

    return stop


def _turn(what: str) -> Stop:
    def stop(taken: Taken) -> str | None:
        for item in taken.items:
            if item.what == "signal" and item.name == "turn_open" and item.turn is not None:
                number = item.turn.rpartition("turn-")[2].rpartition(".")[2]
                if what in (item.turn, number):
                    return f"turn:{what}"
        return None

    return stop


def _event(number: int, text: str) -> Stop:
    def stop(taken: Taken) -> str | None:
        return text if any(item.seq == number for item in taken.items) else None

    return stop


def _time(what: str, began_at: int) -> Stop:
    factor = 1e6 if what.endswith("ms") else 1e9
    try:
        at = began_at + int(float(what.removesuffix("ms").removesuffix("s")) * factor)
    except (ValueError, OverflowError) as error:
        raise MisuseError("replay_stop_malformed", f"time:{what} is none of {WORDS}") from error
    return lambda taken: f"time:{what}" if taken.at >= at else None
