"""A suite is run in a process of its own, and its verdict is formed here, from what that process told before it ended.

A check that began and did not come back has failed, for whatever reason its process ended or was ended; what had not begun yet was
not run. Neither ever counts as passed. Which checks there are is known here, and they come in one order only: what tells anything
else has failed. A target that imitates its suite word for word is not found out: it runs in the process that tells.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from rspp.cli.conformance.messages import (
    Began,
    Broken,
    Came,
    Done,
    Made,
    Message,
    Played,
    Request,
    Wrong,
    file_of,
)
from rspp.cli.conformance.ports import MODALITIES, PORTS, names_of
from rspp.cli.conformance.process import GRACE_S, GarbledError, Process
from rspp.contract.errors import MisuseError, RsppError
from rspp.testing.conformance.certificate import LOADED, Name, Subject
from rspp.testing.conformance.checks import Result

# To import a target and make it once: a model may have to be read.
LOAD_S_MAX: Final = 60.0
GARBLED: Final = "its process said something that is no result of its suite"

Tell = Callable[[Result], object]


def unheard(_: Result) -> None:
    """Nobody wants to know of each check as it comes."""


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one run. `made` is None where there was no target to be tried."""

    made: Made | None
    subject: Subject
    results: tuple[Result, ...]
    output: str = ""  # the end of what it printed


@contextmanager
def _process(request: Request, hash_seed: int) -> Iterator[Process]:
    with _scratch(request) as folder:
        own = msgspec.structs.replace(
            request, scratch=str(folder / "scratch"), namespace=f"conf-{os.urandom(4).hex()}"
        )
        process = Process(own, folder, hash_seed)
        try:
            yield process
        finally:
            process.close()
            if request.purpose == "run":
                process.left = _clean(own)


def _clean(request: Request) -> str:
    """What the suite had on servers is gone too; a sentence if it could not be."""
    if request.port == "store" and request.target.startswith("nats:"):
        from rspp.cli.conformance import stores  # noqa: PLC0415 - only these need their client

        try:
            stores.clean(request)
        except RsppError as error:  # what came of the checks is told all the same
            return (
                f"\nstreams that begin with {request.namespace} may be left on the servers: {error.message}"
            )
    return ""


@contextmanager
def _scratch(request: Request) -> Iterator[Path]:
    """A folder that is gone afterwards: for a store in a file, beside that file, where the disk is the one that is meant."""
    file = file_of(request.target) if request.port == "store" else None
    beside = file.parent if file is not None and file.parent.is_dir() else None
    try:
        made = tempfile.TemporaryDirectory(
            prefix=".rspp-conformance-", dir=beside, ignore_cleanup_errors=True
        )
    except OSError as error:
        why = error.strerror or "it cannot be written to"
        raise MisuseError("conformance_target_wrong", f"beside {file} nothing can be made: {why}") from None
    with made as folder:
        yield Path(folder).absolute()


def run(request: Request, tell: Tell = unheard) -> Ran:
    """Run a suite. Raises `MisuseError` for what is no target."""
    with _process(request, request.seed) as process:
        ran = _ran(process, request, tell)
    return msgspec.structs.replace(ran, output=ran.output + process.left)


def _ran(process: Process, request: Request, tell: Tell) -> Ran:
    made = _made(process, request)
    if isinstance(made, Wrong):
        raise MisuseError(made.code, made.message)
    if not isinstance(made, Made):
        why = made if isinstance(made, str) else made.reason
        failed = Result(*LOADED, "failed", why)
        tell(failed)
        subject = Subject(named=request.target, settings=tuple(sorted(request.settings)))
        subject = subject if isinstance(made, str) else made.subject
        return Ran(made=None, subject=subject, results=(failed,), output=_said(process))
    results = _results(process, request, made.names, tell) if request.purpose == "run" else {}
    return Ran(
        made=made,
        subject=made.subject,
        results=tuple(_told(request, number, name, results) for number, name in enumerate(made.names)),
        output=_said(process),
    )


def _made(process: Process, request: Request) -> Made | Wrong | Broken | str:
    """What the target is; a sentence if its process did not come as far as saying so."""
    try:
        message = process.message(LOAD_S_MAX)
    except TimeoutError:
        return f"it was not loaded and made after {LOAD_S_MAX:.0f} s"
    except GarbledError:
        return f"while it was loaded, {GARBLED}"
    if isinstance(message, Made):
        return message if _is_of(message, request) else f"while it was loaded, {GARBLED}"
    if isinstance(message, Wrong | Broken):
        return message
    return f"while it was loaded, {process.ended() if message is None else GARBLED}"


def _is_of(made: Made, request: Request) -> bool:
    """Is it of the port that was asked for, with the checks that this port has?"""
    asked = (request.port, *(f"{request.port}.{one}" for one in MODALITIES if request.port == "provider"))
    if made.port not in asked or made.port not in PORTS or not {*made.options} <= {*PORTS[made.port].options}:
        return False
    return made.names == names_of(made.port, made.options)


class _Heard:
    """What came of each check so far. A suite says things in one order only: a check that was asked for begins, then it comes."""

    def __init__(self, request: Request, names: tuple[Name, ...]) -> None:
        asked = [number for number, name in enumerate(names) if not request.only or name[0] in request.only]
        self._names = names
        self._order = iter([number for number in asked if number])  # LOADED is no check of the suite
        self.results: dict[int, Result] = {}
        self.next: int | None = 0  # what must begin or come now; None: nothing more
        self.running = True  # whether that is tried has begun with the process

    def take(self, message: Message) -> Result | None:
        """The result that it tells, if it is one; raises GarbledError for what cannot be said now."""
        if isinstance(message, Began) and not self.running and message.number == self.next:
            self.running = True
            return None
        if isinstance(message, Came) and self.running and message.number == self.next and self._fits(message):
            return self._end(message.result)
        raise GarbledError

    def _fits(self, message: Came) -> bool:
        result = message.result
        verdicts = ("passed",) if message.number == 0 else ("passed", "failed", "not_applicable")
        return (result.category, result.name) == self._names[message.number] and result.verdict in verdicts

    def fail(self, why: str) -> Result:
        """What was running failed with the process; if nothing was, what was to come did, or what came last."""
        self.next = max(self.results) if self.next is None else self.next
        return self._end(Result(*self._names[self.next], "failed", why))

    def _end(self, result: Result) -> Result:
        assert self.next is not None
        self.results[self.next] = result
        self.next, self.running = next(self._order, None), False
        return result


def _results(process: Process, request: Request, names: tuple[Name, ...], tell: Tell) -> dict[int, Result]:
    """What was told of each check until the process had nothing more to say, by the check's number."""
    heard = _Heard(request, names)
    while True:
        try:
            message = process.message(request.check_s_max + GRACE_S)
            if isinstance(message, Done) and heard.next is None:
                return heard.results
            if message is not None:
                if (result := heard.take(message)) is not None:
                    tell(result)
                continue
            why = process.ended()
        except TimeoutError:
            why = f"it never came back: its process was ended after {request.check_s_max + GRACE_S:g} s"
        except GarbledError:
            why = GARBLED
        tell(heard.fail(why))
        return heard.results


def _told(request: Request, number: int, name: Name, results: dict[int, Result]) -> Result:
    if number in results:
        return results[number]
    asked = not request.only or name[0] in request.only
    return Result(*name, "not_run", "an earlier check ended the process" if asked else "not asked for")


def _said(process: Process) -> str:
    return process.output.decode("utf-8", "replace")


def trace(request: Request, hash_seed: int, within_s: float) -> Played | str:
    """A node's script played in another process; a sentence if it could not be."""
    with _process(request, hash_seed) as process:
        try:
            message = process.message(within_s)
        except TimeoutError:
            return f"it took more than {within_s:.0f} s"
        except GarbledError:
            return GARBLED
        return message if isinstance(message, Played) else process.ended()
