"""The process in which a target runs: whatever it does there, to the loop, to the output, to the process, stays there.

    python -m rspp.cli.conformance.child REQUEST_FILE RESULTS_FD

A line goes to the results for each thing that happened, before the next begins: who reads them knows at every moment which check
was running. Nothing else is written there; what the target prints goes to the output, which is only looked at when it failed.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from rspp.cli.conformance.making import Tried, UnfitError, make
from rspp.cli.conformance.messages import (
    REASON_CHARACTERS_MAX,
    Began,
    Broken,
    Came,
    Done,
    Made,
    Message,
    Played,
    Request,
    Wrong,
)
from rspp.cli.conformance.ports import port_named
from rspp.cli.conformance.source import source_of
from rspp.cli.conformance.targets import LoadError, load
from rspp.cli.conformance.trials import limits_of, looser
from rspp.contract.errors import RsppError
from rspp.host.secrets import Secrets
from rspp.testing.clock import run_virtual
from rspp.testing.conformance import Check, CheckFailedError, run_check
from rspp.testing.conformance.certificate import LOADED, Subject
from rspp.testing.conformance.checks import Result

PR_SET_PDEATHSIG: Final = 1
REFERENCES: Final = ("env://", "file://")


def main(arguments: Sequence[str]) -> int:
    """Do what the request asks for, and say how it went."""
    request = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=Request)
    results = int(arguments[1])
    os.set_inheritable(results, False)
    _die_with_parent()
    sys.path.insert(0, request.folder)
    random.seed(request.seed)
    scrub = scrubber(request.settings)
    encoder = msgspec.json.Encoder()

    def tell(message: Message) -> None:
        line = scrub(encoder.encode(message).decode()).encode() + b"\n"
        while line:
            line = line[os.write(results, line) :]

    _serve(request, tell)
    return 0


def _serve(request: Request, tell: Callable[[Message], None]) -> None:
    if request.purpose == "trace":
        from rspp.cli.conformance.nodes import played  # noqa: PLC0415 - only nodes are played

        port = port_named(request.port)
        tell(Played(played(request, port, load(port, request.target))))
        return
    try:
        tried = make(request)
    except (LoadError, UnfitError) as error:
        tell(
            Broken(
                _short(str(error)), Subject(named=request.target, settings=tuple(sorted(request.settings)))
            )
        )
        return
    except RsppError as error:
        tell(Wrong(error.code, error.message))
        return
    tell(_made(request, tried))
    if request.purpose == "run":
        _run(request, tried, tell)
    tell(Done())


def _made(request: Request, tried: Tried) -> Made:
    # The module that was named counts, whatever the class says of where it is from.
    source = source_of(*tried.made, named=tried.reference.partition(":")[0])
    last = tried.made[-1]
    cls = last if isinstance(last, type) else type(last)
    return Made(
        port=tried.port,
        subject=Subject(
            named=request.target,
            resolved=tried.reference,
            made=f"{cls.__module__}:{cls.__qualname__}",
            distribution=source.distribution,
            version=source.version,
            sha256=source.sha256,
            files=source.files,
            settings=tuple(sorted(request.settings)),
        ),
        names=(LOADED, *((check.category, check.name) for check in tried.checks)),
        options=tried.options,
        limits=limits_of(tried.patience),
        looser=tuple(looser(tried.patience)),
    )


def _run(request: Request, tried: Tried, tell: Callable[[Message], None]) -> None:
    tell(Came(0, Result(*LOADED, "passed")))
    run = run_virtual if request.virtual else asyncio.run
    for number, check in enumerate(tried.checks, 1):
        if request.only and check.category not in request.only:
            continue
        tell(Began(number))
        result = run_check(_within(check, request.check_s_max), run)
        tell(Came(number, msgspec.structs.replace(result, reason=_short(result.reason))))


def _within(check: Check, s_max: float) -> Check:
    """The same check, which fails when it is not over in time."""

    async def run() -> None:
        limit = asyncio.timeout(s_max)
        try:
            async with limit:
                await check.run()
        except TimeoutError:
            if not limit.expired():
                raise
            raise CheckFailedError(f"was not over after {s_max:g} s") from None

    return Check(check.category, check.name, run)


def _short(reason: str) -> str:
    return reason if len(reason) <= REASON_CHARACTERS_MAX else f"{reason[:REASON_CHARACTERS_MAX]}..."


def scrubber(settings: Mapping[str, object]) -> Callable[[str], str]:
    """What takes the secrets that settings name out of all that is told."""
    secrets = Secrets()
    for value in _strings(settings):
        if value.startswith(REFERENCES):
            try:
                secrets.resolve(value)
            except RsppError:  # the adapter that needs it will say so
                continue
    return secrets.scrub


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _strings(one)


def _die_with_parent() -> None:
    """A target that never returns must not outlive the command, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    # Threads that a target left behind would be waited for; all that is to be said has been said.
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
