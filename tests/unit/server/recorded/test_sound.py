"""What was recorded can be heard, whole or in parts, by those who may hear it and by nobody else."""

from __future__ import annotations

import io
import wave
from array import array
from pathlib import Path

import httpx
import pytest

from rspp.contract.words import RecordingLevel
from rspp.control.security.roles import Role
from rspp.server.app import assemble
from rspp.server.console import gate_of
from rspp.server.recorded import job as j
from rspp.server.recorded.routes import range_of, recorded_routes
from rspp.server.recorded.work import PEAKS, peaks_of, sound
from rspp.timeline.recording import assemble as assembled
from rspp.timeline.records import unframe
from rspp.timeline.view.sound import RATE, Track
from tests.unit.server.recorded.given import OPERATOR, TENANT, VIEWER, Readers, Scene, row, scene, shelve
from tests.unit.timeline.calls import simulated
from tests.unit.timeline.spooled import renamed
from tests.unit.timeline.tones import sounding_bytes


def client(it: Scene, name: str | None) -> httpx.AsyncClient:
    app = assemble(recorded_routes(it.recorded, gate_of(it.plane)))
    headers = {} if name is None else {"authorization": f"Bearer {it.world.token(name)}"}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://console", headers=headers
    )


@pytest.mark.slow
def test_each_side_comes_as_a_wav_in_any_parts_for_those_who_may_hear_it(
    readers: Readers, tmp_path: Path
) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            await shelve(it.data, {(TENANT, "s0"): renamed(sounding_bytes(7, 0), "s0", TENANT)})
            for name, roles in (
                ("olga", {TENANT: Role.OPERATOR}),
                ("vera", {TENANT: Role.VIEWER}),
                ("rick", {"other": Role.ADMIN}),
            ):
                await it.world.principal(name, roles)
            seen = await it.recorded.session(OPERATOR, TENANT, "s0")
            assert seen is not None
            assert [one.side for one in seen.sound] == ["caller", "assistant"]
            for side in seen.sound:
                assert len(side.peaks) == PEAKS
                assert 0.05 < max(side.peaks) <= 1.0
                async with client(it, "olga") as olga:
                    whole = await olga.get(side.url)
                    assert (whole.status_code, whole.headers["content-type"]) == (200, "audio/wav")
                    assert whole.headers["accept-ranges"] == "bytes"
                    assert whole.headers["cache-control"] == "no-store"
                    with wave.open(io.BytesIO(whole.content)) as wav:
                        assert (wav.getnchannels(), wav.getframerate()) == (1, RATE)
                        assert wav.getnframes() / RATE == pytest.approx(side.seconds, abs=0.01)
                        samples = array("h", wav.readframes(wav.getnframes()))
                    assert max(map(abs, samples)) / 32_768 == pytest.approx(max(side.peaks), abs=0.001)
                    size = len(whole.content)
                    for asked, first, last in (
                        ("bytes=0-99", 0, 99),
                        (f"bytes={size - 10}-", size - 10, size - 1),
                        ("bytes=-7", size - 7, size - 1),
                        (f"bytes=100-{size * 9}", 100, size - 1),
                    ):
                        part = await olga.get(side.url, headers={"range": asked})
                        assert part.status_code == 206, asked
                        assert part.headers["content-range"] == f"bytes {first}-{last}/{size}"
                        assert part.content == whole.content[first : last + 1]
                    beyond = await olga.get(side.url, headers={"range": f"bytes={size}-"})
                    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
                    assert (await olga.get(side.url, headers={"range": "lines=1-2"})).status_code == 200
                for asker, status in (("vera", 404), ("rick", 404), (None, 401)):
                    async with client(it, asker) as other:
                        refused = await other.get(side.url)
                        assert refused.status_code == status, asker
                        assert b"RIFF" not in refused.content
            async with client(it, "olga") as olga:
                missing = seen.sound[0].url.replace("caller", "nobody")
                assert (await olga.get(missing)).status_code == 404
                assert (await olga.get(seen.sound[0].url.replace("s0", "x"))).status_code == 404
            quiet = await it.recorded.session(VIEWER, TENANT, "s0")
            assert quiet is not None
            assert quiet.sound == []
            assert "pieces of sound" in quiet.withheld
            assert ("olga", "recordings.access", "done") in await it.audited()

    readers.play(main())


@pytest.mark.slow
def test_without_recorded_sound_or_while_it_goes_on_there_is_none(readers: Readers, tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            data = renamed(sounding_bytes(7, 0), "on", TENANT)
            await shelve(it.data, {(TENANT, "on"): data[: len(data) * 2 // 3]})
            it.rows["sessions"] = [row("on")]
            goes_on = await it.recorded.session(OPERATOR, TENANT, "on")
            assert goes_on is not None
            assert goes_on.sound == []
            assert "once it is over" in goes_on.withheld
            assert await it.recorded.heard(OPERATOR, TENANT, "on") is None

    readers.play(main())


def test_at_level_1_nothing_is_heard() -> None:
    (sides,) = sound(simulated(7, 17, level=RecordingLevel.L1))
    assert j.SIDES(sides) == []
    assert assembled([unframe(sounding_bytes(7, 0))]).inputs


@pytest.mark.parametrize(("count", "length"), [(600, 0), (600, 1), (600, 599), (600, 600), (600, 100_001)])
def test_peaks_are_evenly_over_the_whole_and_never_miss_the_loudest(count: int, length: int) -> None:
    pcm = array("h", [0] * length)
    if length:
        pcm[length * 2 // 3] = -32_768
    found = peaks_of(Track(pcm.tobytes()), count)
    assert len(found) == min(count, length)
    assert max(found, default=0) == (1.0 if length else 0)
    if length > 10 * count:
        assert found.index(1.0) == pytest.approx(count * 2 // 3, abs=1)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (None, (0, 9)),
        ("", (0, 9)),
        ("bytes=-", (0, 9)),
        ("bytes=0-0", (0, 0)),
        ("bytes=5-2", (0, 9)),
        ("bytes=10-", None),
        ("bytes=-0", None),
        ("bytes=-99", (0, 9)),
        ("bytes=1-2,4-5", (0, 9)),
        ("BYTES = 2 - 3", (2, 3)),
        ("bytes=99999999999999999999-", (0, 9)),
        ("\x00", (0, 9)),
    ],
)
def test_a_range_that_is_none_means_all_of_it(asked: str | None, found: tuple[int, int] | None) -> None:
    assert range_of(asked, 10) == found
