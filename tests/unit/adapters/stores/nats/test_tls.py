"""With certificates, both ends know each other; a server that is not the one we trust is told nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from rspp.adapters.stores.nats.link import CONNECT_S_MAX
from rspp.contract.errors import PeerFault
from rspp.control.security.dev_ca import DevCa, dev_ca
from rspp.control.stores import open_store
from rspp.host.secrets import Secrets
from rspp.testing.cluster import NatsCluster
from rspp.testing.cluster_files import Tls

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> DevCa:
    return dev_ca(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, ours: DevCa) -> Iterator[NatsCluster]:
    files = ours.issue("n1")
    tls = Tls(ca=ours.ca, cert=files.cert, key=files.key)
    cluster = NatsCluster(tmp_path_factory.mktemp("guarded") / "c", 1, tls=tls)
    asyncio.run(cluster.start())
    yield cluster
    asyncio.run(cluster.close())


def address(cluster: NatsCluster, **files: Path) -> str:
    options = "".join(f"&{name}={quote(str(path))}" for name, path in files.items())
    return f"{cluster.store_url}{options}&deadline_ms={int(3 * CONNECT_S_MAX * 1000)}"


def test_two_who_know_each_other_talk(guarded: NatsCluster, ours: DevCa) -> None:
    async def main() -> None:
        mine = ours.issue("caller")
        store = open_store(address(guarded, ca=ours.ca, cert=mine.cert, key=mine.key), Secrets())
        await store.put("b", "k", b"1")
        assert await store.keys("b") == ["k"]
        await store.close()

    asyncio.run(main())


def test_a_server_of_another_authority_is_refused_by_us(
    guarded: NatsCluster, ours: DevCa, tmp_path: Path
) -> None:
    async def main() -> None:
        mine = ours.issue("caller")
        other = dev_ca(tmp_path)
        store = open_store(address(guarded, ca=other.ca, cert=mine.cert, key=mine.key), Secrets())
        with pytest.raises(PeerFault) as refused:
            await store.get("b", "k")
        assert refused.value.code == "store_unauthorized"
        await store.close()

    asyncio.run(main())


def test_a_caller_without_a_certificate_is_refused_by_the_server(guarded: NatsCluster, ours: DevCa) -> None:
    async def main() -> None:
        store = open_store(address(guarded, ca=ours.ca), Secrets())
        with pytest.raises(PeerFault, match=r"store_un(authorized|reachable)"):
            await store.get("b", "k")
        await store.close()

    asyncio.run(main())


def test_a_caller_who_does_not_encrypt_is_not_let_in(guarded: NatsCluster) -> None:
    async def main() -> None:
        store = open_store(address(guarded), Secrets())
        with pytest.raises(PeerFault, match=r"store_un(authorized|reachable)"):
            await store.get("b", "k")
        await store.close()

    asyncio.run(main())
