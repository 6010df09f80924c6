"""A pipeline with a node of its own, beside it, under a control plane: usable on this machine alone, refused anywhere else."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from rspp.cli.control.init import begin
from rspp.client import Call, Client, ConnectionLost
from rspp.client.call import Event
from rspp.contract.wire import Caption

pytestmark = [pytest.mark.slow, pytest.mark.long]

NODE = """
import rspp

class Sign(rspp.Node):
    declaration = rspp.NodeDeclaration(
        name="sign", version="v1",
        inputs={"text": (rspp.EventKind.TEXT,)}, outputs={"text": (rspp.EventKind.TEXT,)},
    )

    def on_event(self, ctx, port, event):
        ctx.emit("text", rspp.Text(event.payload.text + " FIRST", role="assistant", final=True))
"""
SPEC = """
pipeline: desk
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  vad: {type: vad, version: v1}
  end_of_turn: {type: end_of_turn, version: v1}
  stt: {type: stt, version: v1}
  llm: {type: llm, version: v1}
  segmenter: {type: segmenter, version: v1}
  sign: {type: custom, implementation: "signing:Sign", version: v1}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: [vad.audio, end_of_turn.audio, stt.audio]}
  - {from: stt.final, to: llm.text}
  - {from: llm.text, to: segmenter.text}
  - {from: segmenter.text, to: sign.text}
  - {from: sign.text, to: [tts.text, speaker.text]}
  - {from: tts.audio, to: speaker.audio}
providers: {vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}
provider_settings:
  scripted-llm: {answers: ["An answer."]}
"""
START = "from rspp.cli.main import main; main()"
# A machine that does other things besides takes its time; nothing waits for longer than it must.
PATIENCE_S = 90


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "desk.yaml").write_text(SPEC)
    (tmp_path / "signing.py").write_text(NODE)
    return tmp_path


async def started(project: Path, verb: str, *more: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", START, verb, str(project / "desk.yaml"), "--data", str(project / "data")),
        *("--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", *more),
        stdout=PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


class Developed:
    """The process of a developer, what it says, and where it is."""

    def __init__(self, project: Path, process: Process) -> None:
        self.project, self.process, self.said = project, process, ""

    async def says(self, words: str) -> str:
        """What follows these words, once they are said."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while (found := re.search(rf"{words} ?([^\s,]*)", self.said)) is None:
                line = await self.process.stdout.readline()
                assert line, self.said
                self.said += line.decode()
        return found[1]

    def edit(self, file: str, old: str, new: str) -> None:
        """Written, and a second later than before, whatever the file system's clock says."""
        path = self.project / file
        before = path.stat().st_mtime_ns
        path.write_text(path.read_text().replace(old, new))
        os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))


@asynccontextmanager
async def developed(project: Path, verb: str) -> AsyncIterator[Developed]:
    it = Developed(project, await started(project, verb))
    try:
        yield it
    finally:
        with suppress(ProcessLookupError):
            it.process.kill()
        await it.process.wait()
        it.process._transport.close()  # type: ignore[attr-defined]


async def answer(call: Call) -> str:
    """What the assistant says to one question."""
    call.say("hello")
    event: Event = await call.until(
        lambda one: isinstance(one, Caption) and one.role == "assistant", PATIENCE_S
    )
    assert isinstance(event, Caption)
    await call.signal("commit", PATIENCE_S)
    return event.text


async def new_answer(calls: str, wanted: str) -> None:
    """A new call is answered so, as soon as the process has taken the edit up."""
    got = ""
    async with asyncio.timeout(PATIENCE_S):
        while wanted not in got:
            with suppress(ConnectionLost):
                async with Client.connect(calls, tenant="acme", timeout_s=PATIENCE_S) as call:
                    got = await answer(call)
                    await call.hang_up()


def test_a_module_beside_the_file_is_used_and_each_edit_of_it_serves_the_calls_that_come_after(
    project: Path,
) -> None:
    async def main() -> None:
        async with developed(project, "dev") as it:
            calls = await it.says("takes calls at")
            async with Client.connect(calls, tenant="acme", timeout_s=PATIENCE_S) as running:
                assert await answer(running) == "An answer. FIRST"
                it.edit("signing.py", "FIRST", "SECOND")
                await new_answer(calls, "An answer. SECOND")
                assert await answer(running) == "An answer. FIRST"  # a call keeps what it began with
            it.edit("signing.py", "class Sign", "class Sing")
            await it.says("has no class")
            await new_answer(calls, "An answer. SECOND")
            it.edit("signing.py", "class Sing", "class Sign")
            it.edit("signing.py", "SECOND", "THIRD")
            it.edit("desk.yaml", "version: v1\nnodes", "version: v2\nnodes")
            await new_answer(calls, "An answer. THIRD")
            await it.says("new calls take desk@v2")

    asyncio.run(main())


def test_what_is_published_there_may_name_those_modules_and_no_others(project: Path) -> None:
    async def main() -> None:
        async with developed(project, "run") as it:
            url = await it.says("control plane at")
            await it.says("rollout canary")
            token = (project / "data" / "control.token").read_text().strip()
            headers = {"authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
                text = SPEC.replace("version: v1\nnodes", "version: v1.1.0\nnodes")
                assert (await http.post("/v1/pipelines", json={"text": text})).status_code == 200
                # A module of Python's own is imported for nobody, whatever class it has.
                other = text.replace("v1.1.0", "v1.2.0").replace("signing:Sign", "antigravity:Sign")
                refused = await http.post("/v1/pipelines", json={"text": other})
            assert (refused.status_code, refused.json()["code"]) == (422, "spec_refused")
            assert "node_not_installed" in refused.text
            assert "lies not beside" in refused.text

    asyncio.run(main())


def test_with_keys_the_module_is_refused_and_the_way_out_is_told(project: Path) -> None:
    keys, store = project / "keys", f"sqlite://{project / 'control.db'}"

    async def main() -> tuple[int | None, str]:
        await begin(store, keys, "root", project / "root.token")
        process = await started(project, "run", "--keys", str(keys), "--store", store)
        try:
            said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            process._transport.close()  # type: ignore[attr-defined]
        return process.returncode, said.decode()

    code, said = asyncio.run(main())
    assert code == 1
    assert "the class 'signing:Sign' is offered by no installed package" in said
    assert "without --keys takes the modules beside FILE" in said
