"""Every adapter that can run here keeps to its port: ours, what is installed beside them, and what a project lists.

What cannot run is told with the reason, and is no pass; where nothing ran the engine has failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.adapters.providers.local import providers
from rspp.cli.conformance.here import MODELS, NATS, PROJECT, Planned, planned
from rspp.cli.conformance.issuing import certified
from rspp.cli.conformance.messages import Request
from rspp.cli.output import write_bytes
from rspp.cli.verify.engine import Engine, Found, Ground, Outcome
from rspp.contract.errors import MisuseError, RsppError
from rspp.contract.event import Text
from rspp.media.wav import Sound, write_wav
from rspp.testing.conformance.attempt import Attempt
from rspp.testing.conformance.certificate import CertificateV1, write
from rspp.testing.conformance.trial import Trial

AT_ONCE: Final = 2
CHECK_S_MAX: Final = 60.0
FOUND_MAX: Final = 200
QUESTION: Final = "Hello there, can you tell me what time it is?"
SPEAK_MS_MAX: Final = 60_000


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one target: a certificate, or why there is none."""

    one: Planned
    certificate: CertificateV1 | None = None
    wrong: str = ""


def run(ground: Ground) -> Outcome:
    """Try each target in a process of its own, two at a time."""
    try:
        targets = planned(ground.folder, "full" if ground.level == "full" else "quick")
    except MisuseError as error:
        fault = Found(
            what=error.message, fix="Correct the list; docs/conformance.md has its form.", where=PROJECT
        )
        return Outcome(verdict="fail", summary="the project's list of targets cannot be read", found=(fault,))
    able = [one for one in targets if not one.lacking]
    # Models want the whole machine: beside each other they are only slow.
    models = [one for one in able if one.limits == MODELS]
    with _surroundings(ground, able) as around:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            light = [one for one in able if one not in models]
            tried = list(pool.map(lambda one: _tried(ground, one, around), light))
        tried += [_tried(ground, one, around) for one in models]
    return _outcome(ground, tried, [one for one in targets if one.lacking])


# ---- one target -----------------------------------------------------------------------------------------------------


def _tried(ground: Ground, one: Planned, around: Mapping[str, str]) -> Tried:
    ground.say(f"{one.port} {one.target}")
    try:
        issued = certified(_request(ground, one, around))
    except RsppError as error:
        return Tried(one=one, wrong=error.message)
    return Tried(one=one, certificate=issued.certificate)


def _request(ground: Ground, one: Planned, around: Mapping[str, str]) -> Request:
    trial = dict(one.trial)
    if one.spoken:
        trial["speech"] = around["speech"]
    on_servers = one.port == "store" and one.target == NATS
    return Request(
        port=one.port,
        target=around[NATS] if on_servers else one.target,
        folder=str(ground.folder.absolute()),
        scratch="",
        settings=one.settings,
        trial=trial,
        limits=one.limits,
        virtual=one.virtual,
        check_s_max=CHECK_S_MAX,
    )


# ---- what targets need around them ------------------------------------------------------------------------------------


@contextmanager
def _surroundings(ground: Ground, able: Sequence[Planned]) -> Iterator[Mapping[str, str]]:
    """A server for the replicated store, a voice for what listens: each only where something needs it."""
    around: dict[str, str] = {}
    if any(one.spoken for one in able):
        ground.say("speaking a question")
        around["speech"] = str(_question(ground.out.absolute()))
    if not any(one.target == NATS for one in able):
        yield around
        return
    from rspp.testing.cluster import NatsCluster  # noqa: PLC0415 - its client comes with an extra

    ground.out.mkdir(parents=True, exist_ok=True)
    cluster = NatsCluster(ground.out.absolute() / "cluster", 1)
    try:
        asyncio.run(cluster.start())
        around[NATS] = cluster.store_url
        yield around
    finally:
        asyncio.run(cluster.close())


def _question(folder: Path) -> Path:
    """A question in a voice of this machine, as a file."""
    path = folder / "question.wav"
    folder.mkdir(parents=True, exist_ok=True)
    write_wav(path, asyncio.run(_spoken()))
    return path


async def _spoken() -> Sound:
    voice = providers()["local-hibari"].factory("local-hibari", {})
    await voice.open()
    try:
        said = Text(QUESTION, final=True, role="assistant")
        attempt = Attempt(voice, Trial(modality="tts", said=said).request())
        attempt.end(last=True)
        await attempt.heard.until(lambda heard: heard.ended, SPEAK_MS_MAX, "the voice said nothing")
        audio = attempt.heard.audio
        return Sound(b"".join(chunk.data for chunk in audio), audio[0].rate)
    finally:
        await voice.close()


# ---- what it comes to -----------------------------------------------------------------------------------------------


def _outcome(ground: Ground, tried: Sequence[Tried], unable: Sequence[Planned]) -> Outcome:
    found = [fault for one in tried for fault in _faults(one)]
    passed = sum(one.certificate is not None and one.certificate.certified for one in tried)
    if not tried:
        nothing = "nothing could be tried, so nothing is proven"
        found.append(Found(what=nothing, fix="Install what is lacking: see `skipped` of the report."))
    skipped = [{"port": one.port, "target": one.target, "why": one.lacking} for one in unable]
    return Outcome(
        verdict="fail" if found else "pass",
        summary=f"{passed} of {len(tried)} targets keep to their ports; {len(skipped)} could not be tried",
        found=tuple(found[:FOUND_MAX]),
        facts={"tried": [_row(one) for one in tried], "skipped": skipped, "faults": len(found)},
        files=tuple(
            _kept(ground.out, number, one)
            for number, one in enumerate(tried, 1)
            if one.certificate is not None
        ),
    )


def _faults(tried: Tried) -> Iterator[Found]:
    named = f"{tried.one.port} {tried.one.target}"
    command = f"rspp conformance {named}"
    certificate = tried.certificate
    if certificate is None:
        yield Found(
            what=f"{named}: {tried.wrong}", fix="Name a target that is there.", where=tried.one.target
        )
        return
    for check in certificate.checks:
        if check.verdict == "failed":
            yield Found(
                what=f"{named}: {check.category}: {check.name}: {check.reason}",
                fix=f"Make it keep to its port, and try this part again: {command} --only {check.category}",
                where=tried.one.target,
            )
    for category in certificate.missing:
        if certificate.categories[category].verdict in ("omitted", "not_run"):
            yield Found(
                what=f"{named}: nothing proves the mandatory category {category}",
                fix=f"See why its checks did not run or do not apply: {command}",
                where=tried.one.target,
            )


def _row(tried: Tried) -> dict[str, Any]:
    certificate = tried.certificate
    if certificate is None:
        return {"port": tried.one.port, "target": tried.one.target, "certified": False}
    return {
        "port": certificate.port,
        "target": tried.one.target,
        "certified": certificate.certified,
        "checks": len(certificate.checks),
        "seconds": certificate.run.seconds,
        "departs": list(certificate.profile.departs),
        "digest": certificate.digest,
    }


def _kept(out: Path, number: int, tried: Tried) -> Path:
    """The certificate as a file, named by what it is about; one target may be tried with several settings."""
    assert tried.certificate is not None
    name = "".join(one if one.isalnum() or one in "-." else "-" for one in tried.one.target)[-60:]
    path = out / f"{number:02}-{tried.one.port}-{name}.json"
    write_bytes(path, write(tried.certificate))
    return path


ENGINE: Final = Engine(
    key="KEY:ENG.CONFORMANCE",
    name="conformance",
    summary="every adapter that can run here keeps to its port",
    levels=frozenset({"quick", "full"}),
    fail_code="adapter_nonconforming",
    run=run,
)
