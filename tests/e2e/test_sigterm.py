"""SIGTERM while many are in the middle of a call: what can be heard out is, what cannot is aborted by policy, and every turn
leaves whole evidence.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from rspp.client import Call, Client, ConnectionLost
from rspp.contract.evidence import missing_fields
from rspp.contract.wire import Told
from rspp.testing.scripted.tts import tone
from tests.e2e.test_listen import SPEC, START, evidence_of

CALLS: Final = 4
QUESTION: Final = tone(300, 16_000, 9_000) + bytes(640_000)
LONG: Final = SPEC.replace(
    "two seconds to say this", "a very long time to say all of this, " + "and more " * 40
)


async def _hear(call: Call) -> list[str]:
    """Every signal until the line is gone."""
    heard: list[str] = []
    with contextlib.suppress(ConnectionLost):
        while True:
            told = await call.until(lambda event: isinstance(event, Told), 20)
            assert isinstance(told, Told)
            heard.append(told.signal)
    return heard


@asynccontextmanager
async def server(spec: Path, journals: Path, drain_ms: int) -> AsyncIterator[tuple[Process, str]]:
    """`rspp run --listen` as a process of its own, which is gone afterwards, and where it takes calls."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", START, str(spec), "--listen", "127.0.0.1:0"),
        *("--record", str(journals), "--drain", str(drain_ms)),
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        yield process, line.decode().split()[-1]
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.slow
def test_sigterm_with_a_short_patience_aborts_what_is_running_and_leaves_whole_evidence(
    tmp_path: Path,
) -> None:
    spec, journals = tmp_path / "desk.yaml", tmp_path / "journals"
    spec.write_text(LONG)

    async def main() -> tuple[int | None, str, list[list[str]], list[int]]:
        async with (
            server(spec, journals, drain_ms=700) as (process, url),
            contextlib.AsyncExitStack() as stack,
        ):
            calls = [await stack.enter_async_context(Client.connect(url, tenant="t")) for _ in range(CALLS)]
            talking = [asyncio.ensure_future(call.send_audio(QUESTION)) for call in calls]
            await asyncio.gather(*(call.signal("playback_started") for call in calls))
            process.send_signal(signal.SIGTERM)
            heard = await asyncio.gather(*(_hear(call) for call in calls))
            await asyncio.gather(*talking, return_exceptions=True)
            _, errors = await asyncio.wait_for(process.communicate(), 15)
            codes = [call.lost.close_code for call in calls if call.lost is not None]
            return process.returncode, errors.decode(), heard, codes

    code, errors, heard, codes = asyncio.run(main())
    assert code == 0, errors
    assert f"{CALLS} sessions were cut short" in errors
    assert all("abort" in signals and "commit" not in signals for signals in heard)
    assert codes == [1000] * CALLS
    turns = [turn for path in journals.iterdir() for turn in evidence_of(path).values()]
    assert len(turns) == CALLS
    assert [missing_fields(evidence, stamp) for evidence, stamp in turns] == [()] * CALLS
