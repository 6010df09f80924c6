"""A run, or several, made into one certificate: a check that failed once has failed."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from rspp import __version__
from rspp.cli.conformance.messages import Request
from rspp.cli.conformance.ports import names_of, port_named
from rspp.cli.conformance.profile import Profile
from rspp.cli.conformance.runner import Ran, Tell, run, unheard
from rspp.contract.words import CORE_SCHEMA_VERSION
from rspp.testing.conformance.certificate import CertificateV1, Circumstances, Terms, issue, suite_of
from rspp.testing.conformance.checks import Result

UNLOADED: Final = "there was nothing to be tried"


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate, and the end of what the target printed meanwhile."""

    certificate: CertificateV1
    output: str


def certified(
    request: Request,
    profile: Profile | None = None,
    *,
    repeat: int = 1,
    tell: Tell = unheard,
) -> Issued:
    """Run the suite and say what came of it; raises `MisuseError` for what is no target."""
    profile = profile or Profile()
    began, at = time.monotonic(), datetime.now(UTC)
    runs: list[Ran] = []  # bounded: repeat
    for number in range(repeat):
        # Each run has another hash seed and other chance: what depends on them is seen.
        again = msgspec.structs.replace(request, seed=request.seed + number)
        runs.append(run(again, tell))
        if runs[-1].made is None:
            break
    first = runs[0]
    port = first.made.port if first.made else request.port
    options = first.made.options if first.made else ()
    names = names_of(port, options)
    certificate = issue(
        port=port,
        target=first.subject,
        suite=suite_of(port, names, options),
        terms=_terms(port, first, profile),
        run=_circumstances(request, at, time.monotonic() - began, repeat),
        results=_merged(runs)
        if first.made
        else (*first.results, *(Result(*name, "not_run", UNLOADED) for name in names[1:])),
    )
    return Issued(certificate=certificate, output=runs[-1].output)


def _terms(port: str, ran: Ran, profile: Profile) -> Terms:
    mandatory = tuple(dict.fromkeys((*port_named(port).mandatory, *profile.mandatory)))
    limits = ran.made.limits if ran.made else {}
    looser = ran.made.looser if ran.made else ()
    return Terms(profile=profile.profile, mandatory=mandatory, limits=limits, departs=looser)


def _circumstances(request: Request, at: datetime, seconds: float, repeat: int) -> Circumstances:
    return Circumstances(
        at=at.isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        repeat=repeat,
        seed=request.seed,
        time="virtual" if request.virtual else "real",
        rspp=__version__,
        schema_version=CORE_SCHEMA_VERSION,
        platform=platform.platform(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
    )


def _merged(runs: Sequence[Ran]) -> tuple[Result, ...]:
    """The verdict of each check over all runs: the worst of them, and in which it was."""
    if len(runs) == 1:
        return runs[0].results
    longest = max(runs, key=lambda ran: len(ran.results))
    return tuple(_worst(runs, number) for number in range(len(longest.results)))


def _worst(runs: Sequence[Ran], number: int) -> Result:
    found = [(at, ran.results[number]) for at, ran in enumerate(runs, 1) if number < len(ran.results)]
    for verdict in ("failed", "not_run", "passed"):
        for at, result in found:
            if result.verdict == verdict:
                reason = f"run {at} of {len(runs)}: {result.reason}" if verdict == "failed" else result.reason
                return msgspec.structs.replace(result, reason=reason)
    return found[0][1]
