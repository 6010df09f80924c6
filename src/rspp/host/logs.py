"""Each log record is one line of JSON, whoever logged it and whatever it holds, and writing it keeps nobody waiting.

    {"time":"2026-01-02T03:04:05.678Z","level":"warning","logger":"rspp.host","message":"...","session_id":"s-1",...}

    record -> said: plain values, on the thread that logs -> queue, bounded -> the writer's thread: cleaned, encoded, written

A full queue takes nothing more: what is lost is counted and told of in a line of its own. What a record says of itself
(`session_id`, `node_id` and the like, or the older `session`, `turn`, `node`) goes before what a host knows of who runs.
Secrets are taken out of the whole text by `clean`, which the writer is given.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from traceback import TracebackException
from typing import Any, Final

import msgspec

from rspp.host.meters import Meters
from rspp.host.secrets import REDACTED

IDS: Final = ("session_id", "turn_id", "pipeline_version", "node_id")
_OLDER: Final = {"session": "session_id", "turn": "turn_id", "node": "node_id"}
QUEUE_LINES_MAX: Final = 2_048
TEXT_CHARACTERS_MAX: Final = 8_192
TRACEBACK_CHARACTERS_MAX: Final = 16_384
FRAMES_MAX: Final = 64  # of each exception, the innermost
# What a node remarks while its session is debugged.
DEBUG: Final = "rspp.debug"
VALUE_CHARACTERS_MAX: Final = 1_024
# So much beyond what is shown is looked at: a secret that begins within is whole.
BESIDE_CHARACTERS_MAX: Final = 2_048
EXTRAS_MAX: Final = 32
NAME_CHARACTERS_MAX: Final = 64
CLOSE_S: Final = 1.0
_WAKE_S: Final = 0.5
_USUAL: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_OURS: Final = frozenset({"time", "level", "logger", "message", "traceback", "lines", *IDS})
_WHOLE_MAX: Final = 1 << 53

Said = dict[str, Any]
Scope = Callable[[], Mapping[str, str]]
Clean = Callable[[str], str]
# Is what stands under this name a secret, whatever it looks like?
Hides = Callable[[str, object], bool]


class Long(msgspec.Struct, frozen=True):
    """A text that is cut once it has been cleaned: half a secret looks like none."""

    text: str  # with more than what is shown of it
    most: int
    length: int


def shown(value: object, most: int = VALUE_CHARACTERS_MAX) -> str | int | float | bool | Long | None:
    """A value as it may stand in a line: never raising, never long, and with nothing in it that is not text."""
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int and abs(value) < _WHOLE_MAX:
        return value
    if type(value) is float and value - value == 0:
        return value
    try:
        text = value if type(value) is str else str(value)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"[{type(value).__name__}]"
    length, text = len(text), text[: most + BESIDE_CHARACTERS_MAX]
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return Long(text, most, length) if length > most else text


def said(record: logging.LogRecord, scope: Mapping[str, str]) -> Said:
    """What a record says, in plain values."""
    line: Said = {
        "time": _time(record),
        "level": record.levelname.lower(),
        "logger": shown(record.name),
        "message": _message(record),
    }
    extras = _extras(record)
    for name in IDS:
        found = extras.pop(name, None) or scope.get(name)
        if found:
            line[name] = found
    raised = record.exc_info[1] if record.exc_info else None
    if raised is not None:
        line["traceback"] = _raised(raised)
    elif record.exc_text:
        line["traceback"] = shown(record.exc_text, TRACEBACK_CHARACTERS_MAX)
    for name, value in extras.items():
        line.setdefault(name, value)
    return line


def _time(record: logging.LogRecord) -> str:
    second, ms = divmod(int(record.created * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.{ms:03d}Z"


def _message(record: logging.LogRecord) -> object:
    try:
        return shown(record.getMessage(), TEXT_CHARACTERS_MAX)
    except Exception:  # noqa: BLE001 - a format that does not fit, or arguments that raise when they are shown
        return shown(record.msg, TEXT_CHARACTERS_MAX)


def _extras(record: logging.LogRecord) -> Said:
    found: Said = {}
    for name, value in record.__dict__.items():
        if name not in _USUAL and len(found) < EXTRAS_MAX:
            found[_OLDER.get(str(name), str(name)[:NAME_CHARACTERS_MAX])] = shown(value)
    return found


def _raised(error: BaseException) -> object:
    """Where and what, in words of now. The lines of code are read from disk later, by the thread that writes."""
    try:
        made = TracebackException.from_exception(error, limit=-FRAMES_MAX, lookup_lines=False, compact=True)
    except Exception:  # noqa: BLE001 - an exception whose own words raise
        return type(error).__name__
    length = 0
    one: TracebackException | None = made
    while one is not None and not one.exceptions:
        length, one = length + len(str(one)), one.__cause__ or one.__context__
    return made if one is None and length <= TRACEBACK_CHARACTERS_MAX else _as_text(made)


def _as_text(value: TracebackException) -> object:
    try:
        return shown("".join(value.format()).rstrip("\n"), TRACEBACK_CHARACTERS_MAX)
    except Exception:  # noqa: BLE001 - likewise
        return "exception"


def as_json(line: Said, clean: Clean) -> bytes:
    return msgspec.json.encode({clean(_text(name)): _cleaned(value, clean) for name, value in line.items()})


def as_words(line: Said, clean: Clean) -> bytes:
    """For a person at a terminal. What goes on in a further line is set back: a message cannot look like a record."""
    text = (
        f"{str(line['level']).upper()} {_cleaned(line['logger'], clean)}: {_cleaned(line['message'], clean)}"
    )
    if "traceback" in line:
        text += f"\n{_cleaned(line['traceback'], clean)}"
    return text.replace("\n", "\n    ").encode("utf-8", "backslashreplace")


def _cleaned(value: object, clean: Clean) -> object:
    if isinstance(value, Long):
        text = clean(value.text)[: value.most]
        return f"{text}...[+{value.length - value.most}]"
    return clean(value) if isinstance(value, str) else value


def _text(name: str) -> str:
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


class LogWriter(logging.Handler):
    """A handler whose lines are written by a thread of its own to a file descriptor."""

    def __init__(
        self,
        descriptor: int,
        *,
        clean: Clean,
        mask: Clean = str,
        hides: Hides = lambda _name, _value: False,
        encode: Callable[[Said, Clean], bytes] = as_json,
        lines_max: int = QUEUE_LINES_MAX,
    ) -> None:
        """`mask` takes personal data out of what others said: a provider with its exception, a node with its remark.

        What a record has beside its words is not shown at all where its name `hides` it.
        """
        super().__init__()
        self.written = self.dropped = 0
        self._descriptor = descriptor
        self._clean, self._mask, self._encode, self._lines_max = clean, mask, encode, lines_max
        self._hides = hides
        self._torn = False  # a line was begun and could not be ended
        self._lines: deque[Said] = deque(maxlen=lines_max)
        self._scopes: list[Scope] = []  # bounded: by the hosts of a process
        self._told = 0  # how many lost lines have been told of
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    # ---- on whatever thread logs -------------------------------------------------------------------------------------

    def about(self, scope: Scope) -> None:
        """Ask this from now on who runs, when somebody logs without saying so."""
        self._scopes.append(scope)

    def no_more_about(self, scope: Scope) -> None:
        if scope in self._scopes:
            self._scopes.remove(scope)

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) >= self._lines_max or self._stopping.is_set():
            self.dropped += 1
            return
        try:
            scope: Mapping[str, str] = {}
            for one in self._scopes:
                scope = one() or scope
            self._lines.append(said(record, scope))
        except Exception:  # noqa: BLE001 - supervised: a line that cannot be made is lost, and costs nobody anything
            self.dropped += 1
            return
        self._wake.set()

    def close(self) -> None:
        """Write what waits, as long as whoever reads it takes it within a second."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._wake.set()
            self._thread.join(CLOSE_S)
            self.dropped += len(self._lines)
        super().close()

    # ---- on its own thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not (self._stopping.is_set() and not self._lines):
            self._wake.wait(_WAKE_S)
            self._wake.clear()
            while self._lines:
                self._put(self._lines.popleft())
            if self.dropped > self._told:
                lost, self._told = self.dropped - self._told, self.dropped
                self._put(
                    {**_LOST, "time": _time(logging.makeLogRecord({"created": time.time()})), "lines": lost}
                )

    def _put(self, line: Said) -> None:
        try:
            self._write(self._encode(self._of_others(line), self._clean) + b"\n")
        except Exception:  # noqa: BLE001 - supervised: nobody reads any more, or a line cannot be cleaned
            self.dropped += 1
        else:
            self.written += 1

    def _of_others(self, line: Said) -> Said:
        """The line, with what others said in it masked, and without what its name hides."""
        hidden = {
            name: REDACTED for name, value in line.items() if name not in _OURS and self._hides(name, value)
        }
        line = line | hidden
        for name in ("traceback", "message") if line["logger"] == DEBUG else ("traceback",):
            value = line.get(name)
            value = _as_text(value) if isinstance(value, TracebackException) else value
            if isinstance(value, str | Long):
                line = {**line, name: _cleaned(value, lambda text: self._mask(self._clean(text)))}
        return line

    def _write(self, text: bytes) -> None:
        """All of it. Where whoever opened the descriptor lets nobody wait, it is waited for all the same: half a line is none."""
        data = memoryview(b"\n" + text if self._torn else text)
        whole = len(data)
        try:
            while data:
                try:
                    data = data[os.write(self._descriptor, data) :]
                except BlockingIOError:
                    _, writable, _ = select.select([], [self._descriptor], [], _WAKE_S)
                    if not writable and self._stopping.is_set():
                        raise
        finally:
            self._torn = 0 < len(data) < whole or (self._torn and len(data) == whole)


_LOST: Final = {
    "time": "",
    "level": "warning",
    "logger": "rspp.logs",
    "message": "lines of the log were lost: whoever reads it is too slow",
}


def count_in(meters: Meters) -> None:
    """Show with a host's figures what became of the log's lines."""
    written = meters.counter("telemetry_log_lines_total", outcome="written")
    dropped = meters.counter("telemetry_log_lines_total", outcome="dropped")

    def gather() -> None:
        all_of_them = writers()
        written.value = sum(writer.written for writer in all_of_them)
        dropped.value = sum(writer.dropped for writer in all_of_them)

    meters.before(gather)


def writers() -> list[LogWriter]:
    """Those who write the log of this process."""
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, LogWriter)]
