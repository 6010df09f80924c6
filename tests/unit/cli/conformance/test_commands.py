"""The command: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from click.testing import CliRunner, Result

from rspp.adapters.stores.nats import NatsStore
from rspp.adapters.stores.sqlite import SqliteStore
from rspp.cli.conformance import command
from rspp.cli.conformance.ports import PORTS, names_of, port_named
from rspp.cli.conformance.profile import read
from rspp.cli.conformance.targets import call, load
from rspp.contract.errors import MisuseError
from rspp.control.stores import open_store
from rspp.host.secrets import Secrets
from rspp.testing.cluster import NatsCluster
from rspp.testing.conformance.profiles import MANDATORY

ADAPTERS = Path(__file__).with_name("adapters.py")


def said(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments])


# ---- without a process --------------------------------------------------------------------------------------------------


def test_every_port_is_listed_with_its_categories_and_what_each_check_says() -> None:
    found = json.loads(said("--list", "--json").stdout)["ports"]
    assert [row["port"] for row in found] == list(PORTS)
    for row in found:
        assert set(row["mandatory"]) <= set(row["categories"]), row["port"]
        assert row["mandatory"] == list(MANDATORY[row["port"]])
        assert row["example"].startswith(f"rspp conformance {row['port']} ")
    listing = said("node", "--list").stdout
    assert "determinism (mandatory)" in listing
    assert "asks no clock" in listing


def test_every_mandatory_category_of_every_port_has_a_check() -> None:
    for port in PORTS.values():
        categories = {category for category, _ in names_of(port.name, port.options)}
        assert set(port.mandatory) <= categories, port.name


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "name a port and a target, or say --list"),
        (("teapot", "x"), "there is no port 'teapot'. Ports: store, provider,"),
        (("clock",), "Example: rspp conformance clock my_clock.py:Clock"),
        (("clock", "x:y", "--only", "tea"), "no category 'tea'; there are order, pace, target, units"),
        (("clock", "x:y", "--only", "order", "--out", "c.json"), "leave out --out"),
        (("clock", "x:y", "--trial", "loud=1"), "unknown field `loud`"),
        (("clock", "x:y", "--trial", "settle_ms=soon"), "settle_ms is a number"),
        (("clock", "x:y", "--setting", "nothing"), "--setting takes KEY=VALUE"),
        (("clock", "x:y", "--setting", "a=1", "--setting", "a=2"), "a stands twice"),
        (("clock", "x:y", "--repeat", "0"), "--repeat"),
        (("provider.stt", "x:y", "--trial", "speech=no-such.wav"), "no-such.wav"),
    ],
)
def test_what_is_used_wrongly_is_told_and_ends_with_2(arguments: tuple[str, ...], why: str) -> None:
    result = said(*arguments)
    assert result.exit_code == 2, result.output
    assert why in result.output


def profile(folder: Path, text: str) -> Path:
    path = folder / "profile.yaml"
    path.write_text(text)
    return path


def test_a_profile_adds_categories_and_limits(tmp_path: Path) -> None:
    path = profile(
        tmp_path,
        f"profile: ours\nmandatory: [{', '.join(MANDATORY['store'])}, shared]\nlimits: {{answer_ms_max: 50}}\n",
    )
    found = read(path, port_named("store"))
    assert found.profile == "ours"
    assert found.mandatory[-1] == "shared"
    assert found.limits == {"answer_ms_max": 50}


@pytest.mark.parametrize("category", MANDATORY["node"])
def test_a_profile_that_takes_a_mandatory_category_away_is_refused(tmp_path: Path, category: str) -> None:
    kept = [name for name in MANDATORY["node"] if name != category]
    with pytest.raises(MisuseError, match=f"it leaves out {category}"):
        read(profile(tmp_path, f"mandatory: [{', '.join(kept)}]"), port_named("node"))


@pytest.mark.parametrize(
    "text",
    [
        "- a list",
        "profil: x",
        "mandatory: [tea]",
        "limits: {tea_ms: 1}",
        "limits: {settle_ms: soon}",
        "a: [",
        "\x00",
        "profile: a b",
    ],
)
def test_a_profile_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(MisuseError, match="conformance_profile_invalid"):
        read(profile(tmp_path, text), port_named("node"))


# ---- with one -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_certificate_is_written_and_holds_until_it_or_its_source_is_changed(tmp_path: Path) -> None:
    source = tmp_path / "mine.py"
    source.write_text(
        "from rspp.host.pools import Fair\n\n\nclass Mine(Fair):\n    pass\n\n\nclass Other(Mine):\n    pass\n"
    )
    out, xml = tmp_path / "c.json", tmp_path / "c.xml"
    made = said("pool_strategy", f"{source}:Mine", "--out", out, "--junit", xml, "--json")
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout) == json.loads(out.read_bytes())
    suite = ET.parse(xml).getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("6", "0")

    held = said("check", out, "--target", f"{source}:Mine")
    assert (held.exit_code, "source: the same" in held.output) == (0, True), held.output

    another = said("check", out, "--target", f"{source}:Other")
    assert (
        another.exit_code,
        "mine:Other (mine:Other), and what was certified is mine:Mine" in another.output,
    ) == (1, True)

    source.write_text(source.read_text() + "    added = True\n")
    changed = said("check", out, "--target", f"{source}:Mine", "--json")
    assert changed.exit_code == 1
    found = json.loads(changed.stdout)
    assert found["source"] == "another"
    assert "is not the one that was certified" in found["faults"][0]

    document: dict[str, Any] = json.loads(out.read_bytes())
    document["run"]["at"] = "2020-01-01T00:00:00+00:00"
    out.write_text(json.dumps(document))
    edited = said("check", out)
    assert edited.exit_code == 1
    assert "it was changed after it was written" in edited.output


@pytest.mark.slow
def test_one_that_fails_ends_with_1_and_says_which_check_and_what_it_printed(tmp_path: Path) -> None:
    xml = tmp_path / "c.xml"
    result = said("clock", f"{ADAPTERS}:Seconds", "--junit", xml)
    assert result.exit_code == 1
    assert "is no time of this century in nanoseconds since 1970" in result.stdout
    assert "mandatory categories that did not pass: units, pace" in result.stdout
    assert "passed  units: counts whole nanoseconds" in result.stderr
    assert [
        case.get("name") for case in ET.parse(xml).iter("testcase") if case.find("failure") is not None
    ] == [
        "knows the time of day in nanoseconds since 1970",
        "goes on, at the pace of time",
    ]


WRONG = {
    "Clok": "adapters_wrong has no 'Clok'; it has Clock, Exits",
    "nothing": "it is a int, which cannot be called",
    "later": "it is a coroutine function",
    "Shout": "it takes 1 arguments",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_target_is_told_with_what_is_expected(name: str, tmp_path: Path) -> None:
    file = tmp_path / "adapters_wrong.py"
    file.write_bytes(ADAPTERS.read_bytes())
    port = port_named("clock")
    try:
        with pytest.raises(MisuseError) as error:
            call(port, load(port, f"{file}:{name}").value)
    finally:
        sys.modules.pop("adapters_wrong", None)
        sys.path.remove(str(tmp_path))
    assert WRONG[name] in error.value.message
    assert "Expected for clock: a factory: f() that gives a Clock or a ClockTarget." in error.value.message


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("no_such_module_here:x", "there is no module 'no_such_module_here' here"),
        ("json", "Name what is to be tried in the module: json:NAME."),
        ("mine.py", "Name what is to be tried in the file: mine.py:NAME."),
        ("no/such.py:x", "there is no file no/such.py"),
        (":x", "does not have the form"),
    ],
)
def test_what_is_not_there_is_told_with_an_example(target: str, why: str) -> None:
    with pytest.raises(MisuseError) as error:
        load(port_named("clock"), target)
    assert why in error.value.message
    assert "Example: rspp conformance clock my_clock.py:Clock" in error.value.message


@pytest.mark.slow
@pytest.mark.long
def test_a_wrong_target_ends_the_command_with_2() -> None:
    result = said("clock", f"{ADAPTERS}:nothing")
    assert result.exit_code == 2
    assert "it is a int, which cannot be called" in result.output


@pytest.mark.slow
@pytest.mark.long
def test_a_store_that_is_not_empty_is_refused_and_never_touched(tmp_path: Path) -> None:
    file = tmp_path / "mine.db"
    address = f"sqlite://{file}"

    async def fill() -> None:
        store = SqliteStore(file)
        await store.put("b", "k", b"mine")
        await store.close()

    asyncio.run(fill())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    refused = said("store", address)
    assert refused.exit_code == 2
    assert "the file mine.db is there and not empty" in refused.output
    allowed = said("store", address, "--allow-used", "-q", "--only", "keys")
    assert allowed.exit_code == 0, allowed.output
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.slow
@pytest.mark.long
def test_a_limit_that_asks_less_than_the_standard_stands_in_the_certificate(tmp_path: Path) -> None:
    path = profile(tmp_path, "profile: slow\nlimits: {cancel_ms_max: 500, settle_ms: 400}")
    result = said("provider.tts", "scripted-tts", "--virtual", "--profile", path, "--json")
    terms = json.loads(result.stdout)["profile"]
    assert result.exit_code == 0
    assert terms["profile"] == "slow"
    assert terms["departs"] == ["cancel_ms_max is 500, not 75"]


@pytest.mark.slow
@pytest.mark.long
def test_what_fails_in_one_run_of_several_has_failed(tmp_path: Path) -> None:
    source = tmp_path / "sometimes.py"
    source.write_text(
        "import os\nfrom rspp.host.pools import Fair\n\n\n"
        "class Sometimes(Fair):\n"
        "    def discard(self, work):\n"
        "        if os.environ['PYTHONHASHSEED'] != '2':\n"
        "            super().discard(work)\n"
    )
    result = said("pool_strategy", f"{source}:Sometimes", "--repeat", "2", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    reasons = [one["reason"] for one in found["checks"] if one["verdict"] == "failed"]
    assert reasons
    assert all(reason.startswith("run 2 of 2: ") for reason in reasons)
    assert found["run"]["repeat"] == 2


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    for text in ("", "[]", "{}", '{"schema": "rspp-certificate-v2"}', "x" * 10):
        path.write_text(text)
        result = said("check", path)
        assert result.exit_code == 2, text
        assert "certificate_invalid" in result.output
    path.write_bytes(msgspec.json.encode({"x": "y" * (1 << 20)}))
    assert "more than" in said("check", path).output


@pytest.mark.slow
@pytest.mark.long
def test_on_servers_nothing_is_touched_and_nothing_is_left(tmp_path: Path) -> None:
    async def streams(address: str, *, fill: bool = False) -> list[str]:
        store = open_store(address, Secrets())
        assert isinstance(store, NatsStore)
        try:
            if fill:
                await store.put("b", "k", b"mine")
            entry = await store.get("b", "k")
            assert entry is not None
            assert entry.value == b"mine"
            return sorted(await store.kept())
        finally:
            await store.close()

    cluster = NatsCluster(tmp_path / "cluster", 1)
    asyncio.run(cluster.start())
    try:
        before = asyncio.run(streams(cluster.store_url, fill=True))
        refused = said("store", cluster.store_url)
        assert refused.exit_code == 2
        assert "the servers have" in refused.output
        allowed = said("store", cluster.store_url, "--allow-used", "-q", "--json")
        assert allowed.exit_code == 0, allowed.output
        assert json.loads(allowed.stdout)["certified"]
        assert asyncio.run(streams(cluster.store_url)) == before
    finally:
        asyncio.run(cluster.close())
