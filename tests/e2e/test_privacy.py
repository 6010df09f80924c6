"""What callers said and typed that nobody may keep is in nothing that is written: not in the data folder, not in the logs,
and in none of the reports that are made of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from rspp.cli.main import main as rspp
from rspp.cli.recordings import Where, load
from rspp.client import Call, Client
from rspp.contract.event import Text
from rspp.contract.wire import Caption, Told
from rspp.contract.words import RecordingLevel
from rspp.kernel.inputs import AudioReceived
from rspp.testing.clean import assert_clean, found_in
from rspp.testing.scripted.tts import tone
from rspp.timeline.recording import Recording
from rspp.timeline.redaction.hearing import OVERLAP_NS
from rspp.timeline.redaction.patterns import find
from tests.e2e.test_listen import START
from tests.unit.timeline.redaction.cases import PLANTED

TENANT: Final = "desk"
SERVERS: Final = 2  # a level, each with its share of what is said
SPEECH: Final = tone(300, 16_000, 9_000)[: 2 * 16 * 200] + bytes(2 * 16 * 160)
# No form gives these away, so they are found only if somebody wrote down what a reference stands for.
KEY, DOOR, UNUSED = "quiet harbour lantern", "amber staircase violin", "copper meadow whistle"
ENVIRONMENT: Final = {"DESK_KEY": KEY, "DESK_DOOR": DOOR, "DESK_UNUSED": UNUSED}
OFF: Final = "{name: everything, everybody: {text_raw: {L1: allow, L2: allow}, audio_raw: {L2: allow}}}"
HELLO: Final = "let me think about it for a second"
SHORT: Final = 9

Case = tuple[str, str]


def sought(text: str, value: str) -> str:
    """The planted value; one so short that chance writes it too, with the words before it."""
    if sum(character.isalnum() for character in value) >= SHORT:
        return value
    start = text.index(value)
    return text[max(0, text.rfind(" ", 0, max(0, start - 4)) + 1) : start + len(value)]


SOUGHT: Final = [sought(text, value) for text, value in PLANTED]
KEYS: Final = [KEY, DOOR, UNUSED]
IN_A_ROW: Final = ("123-45-6789", "123 45 6789")
# A login in an address is refused by the check of a pipeline, so nobody is heard to say one; it can be typed.
SAYABLE: Final = [case for case in PLANTED if "://" not in case[0]]


def desk(cases: Sequence[Case], upstream: str) -> str:
    """A pipeline that hears these texts, word by word, and says each of them back; the model that it asks first has broken."""
    heard = [text for text, _ in cases]
    settings = {
        "scripted-end-of-turn": {"pause_ms": 100},
        "scripted-stt": {
            "texts": [*heard, *[HELLO] * 4],
            "partial_ms": 20,
            "words_a_partial": 2,
            "final_ms": 0,
        },
        "openai-llm": {
            "base_url": upstream,
            "model": "m",
            "api_key": "env://DESK_KEY",
            "headers": {"X-Token": "env://DESK_KEY"},
        },
        "scripted-llm": {"first_ms": 0, "tokens_per_s": 5_000},
        "scripted-tts": {"ms_per_character": 1, "first_ms": 0},
    }
    providers = {
        **{name: [f"scripted-{name.replace('_', '-')}"] for name in ("vad", "end_of_turn", "stt", "tts")},
        "llm": ["openai-llm", "scripted-llm"],
    }
    head = {"pipeline": "desk", "version": "v1", "template": "voice"}
    return json.dumps({**head, "providers": providers, "provider_settings": settings})


class Upstream:
    """A server that refuses every request and says in its answer all that it was sent."""

    def __init__(self) -> None:
        self.asked = 0  # with the key, as it is

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked += f"Bearer {KEY}".encode() in head
            body = json.dumps({"error": {"message": head.decode(errors="replace")}}).encode()
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\n")
            writer.write(b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()


def written_spec(folder: Path, spec: str) -> Path:
    """The pipeline's file, which has what is planted in it, away from the folder that is searched."""
    path = folder.parent.parent / "specs" / f"{folder.name}.yaml"
    for one in (folder, path.parent):
        one.mkdir(parents=True, exist_ok=True)
    path.write_text(spec)
    return path


@asynccontextmanager
async def server(folder: Path, data: Path, spec: str, *options: str) -> AsyncIterator[str]:
    """`rspp run --listen` with all its logs, as a process of its own; what it says goes into files of the folder."""
    path = written_spec(folder, spec)
    out, errors = folder / "out", folder / "errors"
    with out.open("wb") as to, errors.open("wb") as to_errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", START, str(path), "--listen", "127.0.0.1:0", "--verbose"),
            *("--data", str(data), "--token", "env://DESK_DOOR", *options),
            env={**os.environ, **ENVIRONMENT},
            stdin=DEVNULL,
            stdout=to,
            stderr=to_errors,
        )
    try:
        async with asyncio.timeout(60):
            while "\n" not in (said := out.read_text()):
                assert process.returncode is None, errors.read_text()
                await asyncio.sleep(0.02)
        yield said.splitlines()[0].split()[-1]
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0, errors.read_text()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def typed(url: str, texts: Sequence[str]) -> None:
    async with Client.connect(url, tenant=TENANT, token=DOOR) as call:
        for text in texts:
            call.say(text)
            await call.signal("close")


async def said(call: Call) -> set[str]:
    """What the caller was shown up to the end of a turn; nothing if none came."""
    shown = set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            async for event in call.events():
                if isinstance(event, Caption):
                    shown.add(event.text)
                elif isinstance(event, Told) and event.signal == "close":
                    break
    return shown


async def spoken(url: str, cases: Sequence[Case]) -> None:
    """Everything is said in its turn, and at last what is harmless, twice: sound is let go when a later final comes.

    On a busy machine speech may come in one lump, which is no turn; then it is said again.
    """
    async with Client.connect(url, tenant=TENANT, token=DOOR) as call:
        shown: set[str] = set()
        while HELLO not in shown:
            shown |= await again(call)
        assert {text for text, _ in cases} <= shown
        await call.send_silence(OVERLAP_NS // 1_000_000 + 200)
        while HELLO not in await again(call):
            pass


async def again(call: Call) -> set[str]:
    await call.send_audio(SPEECH)
    return await said(call)


async def held(root: Path) -> None:
    """All calls, in several servers at once over one data folder; and one that keeps what it hears, over another.

    Everything is typed at both levels, and said at one of them.
    """
    model = Upstream()
    upstream = await asyncio.start_server(model, "127.0.0.1")
    address = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}/v1"
    data, kept, off = root / "data", root / "kept", root / "off.yaml"
    await asyncio.to_thread(off.write_text, OFF)
    every = [text for text, _ in PLANTED]

    async def shared(level: str, share: int, cases: Sequence[Case]) -> None:
        logs = root / "written" / f"{level}-{share}"
        async with server(logs, data, desk(cases, address), "--record-level", level) as url:
            await asyncio.gather(typed(url, [*every[share::SERVERS], HELLO]), spoken(url, cases))
            if (level, share) == ("L2", 0):
                await asyncio.to_thread(copy_running, data, root / "written" / "running")

    async def plain() -> None:
        async with server(kept / "server", kept / "data", desk([], address), "--redaction", str(off)) as url:
            await typed(url, every)

    async with upstream:
        await asyncio.gather(
            plain(),
            *(
                shared(level, share, SAYABLE[SERVERS * part + share :: 2 * SERVERS])
                for part, level in enumerate(("L1", "L2"))
                for share in range(SERVERS)
            ),
        )
    assert model.asked, "the key was used"


def copy_running(data: Path, to: Path) -> None:
    """What exists only as long as somebody writes: segments of the spool, and the store's own log."""
    to.mkdir()
    for path in (*data.rglob("*.seg"), *data.glob("*-wal")):
        with contextlib.suppress(FileNotFoundError):  # it has been exported since
            (to / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())


def cli(*arguments: object, status: Sequence[int] = (0,)) -> str:
    result = CliRunner().invoke(rspp, [*map(str, arguments)])
    assert result.exit_code in status, (arguments, result.output, result.exception)
    return result.output


def names_in(data: Path) -> list[str]:
    listed = json.loads(cli("sessions", "--data", data, "--tenant", TENANT, "--json"))
    return [one["session"] for one in listed["sessions"]]


def reports(data: Path, to: Path, names: Sequence[str]) -> None:
    """Every report that can be had of these sessions, in files of a folder."""
    whose = ("--data", data, "--tenant", TENANT)
    (to / "corpus").mkdir(parents=True)
    (to / "sessions.txt").write_text(cli("sessions", *whose))
    for name in names:
        stem = to / name
        stem.with_suffix(".txt").write_text(cli("timeline", name, *whose))
        stem.with_suffix(".json").write_text(cli("timeline", name, *whose, "--json"))
        cli("timeline", name, *whose, "--html", stem.with_suffix(".html"))
        stem.with_suffix(".summary").write_text(cli("summary", name, *whose, "--json"))
        replayed = json.loads(cli("replay", name, *whose, "--mode", "re-simulate", "--items", "--json"))
        assert replayed["divergences"] == 0
        stem.with_suffix(".replay").write_text(json.dumps(replayed))
        cli("export", name, *whose, "--out", to / "corpus" / f"{name}.rspp")
        for form in ("jsonl", "parquet"):
            cli("export", name, *whose, "--format", form, "--out", stem.with_suffix(f".{form}"))
    first, second = names[0], names[-1]
    (to / "diff.json").write_text(cli("diff", first, second, *whose, "--json", status=(1,)))
    cli("diff", first, second, *whose, "--html", to / "diff.html", status=(1,))
    (to / "gates.txt").write_text(cli("gates", *names, *whose, "--out", to / "gates.json", status=(0, 1)))
    junit = ("--junit", to / "regress.xml", "--jobs", 1)
    (to / "regress.txt").write_text(cli("regress", to / "corpus", *junit))
    (to / "shrunk").mkdir()
    found = ("--check", "signal commit", "--out", to / "shrunk" / "test_found.py", "--time-s", 3)
    (to / "shrunk" / "said").write_text(cli("shrink", first, *whose, *found))


def planted_in(place: Path) -> list[tuple[str, str]]:
    """What was found of what was planted. Nine counters in a row are no leak of the number that is a row of nine."""
    return [
        (value, form)
        for value, form in found_in(place, [*SOUGHT, *KEYS])
        if not (value in IN_A_ROW and form.startswith(("squeezed", "backwards")))
    ]


def texts_of(recording: Recording) -> bytes:
    """All that a recording has in words, the pieces of each call put together as they came."""
    said: dict[str, list[str]] = {}
    for _, received in recording.input_list():
        payload = getattr(received, "payload", None)
        if isinstance(payload, Text):
            said.setdefault(str(getattr(received, "call_id", "")), []).append(payload.text)
    return "\n".join("".join(pieces) for pieces in said.values()).encode()


def heard(recording: Recording) -> tuple[list[int], list[int]]:
    """When the caller was loud, and when the recogniser was sure of something."""
    loud, sure = [], []
    for at, received in recording.input_list():
        if isinstance(received, AudioReceived) and any(received.audio.data):
            loud.append(at)
        payload = getattr(received, "payload", None)
        if isinstance(payload, Text) and payload.role == "user" and payload.final and payload.text:
            sure.append(at)
    return loud, sure


@pytest.mark.long
@pytest.mark.slow
def test_a_hundred_planted_secrets_said_and_typed_are_in_nothing_that_was_written(tmp_path: Path) -> None:
    asyncio.run(held(tmp_path))
    written, data, kept = tmp_path / "written", tmp_path / "data", tmp_path / "kept"
    recordings = {name: load(name, Where(data=data, tenant=TENANT)) for name in names_in(data)}
    assert len(recordings) == 4 * SERVERS
    levels = {name: recording.head.graph.recording_policy.level for name, recording in recordings.items()}
    turns = {name: len(recording.evidence) for name, recording in recordings.items()}
    assert sum(turns.values()) >= 2 * len(PLANTED) + len(SAYABLE) + 4 * SERVERS

    for name, recording in recordings.items():
        assert recording.whole
        texts = texts_of(recording)
        assert HELLO.encode() in texts, "what is harmless is there"
        assert_clean(texts, SOUGHT)
        loud, sure = heard(recording)
        if levels[name] is RecordingLevel.L2 and sure:
            assert loud, "the harmless sound is there"
            assert sure[-3] < min(loud), "and no other"

    # Of everything that was said and of everything that was typed one session is shown in every way there is.
    shown = {(levels[name], bool(heard(recording)[1])): name for name, recording in recordings.items()}
    reports(data, written / "reports", [shown[RecordingLevel.L1, False], shown[RecordingLevel.L2, True]])
    assert len(list((written / "reports").rglob("*"))) > 20
    for place in (written, data):
        assert planted_in(place) == []
        assert found_in(place, [HELLO])

    # Where texts are kept as they are the same search finds them, and the secrets are masked even there.
    found = {value for value, _ in found_in(kept, [*SOUGHT, *KEYS])}
    secrets = {wanted for (text, _), wanted in zip(PLANTED, SOUGHT, strict=True) if find(text, ("secret",))}
    assert found <= set(SOUGHT) - secrets
    assert len(found) > 70
