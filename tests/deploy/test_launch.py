"""What the manifests would run does run: real processes on a real JetStream, by the commands, environments and probes in them."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from rspp.cli.control.init import begin
from rspp.client import Client, ConnectionLost
from rspp.testing.cluster import NatsCluster
from tests.deploy.launched import Launched, launched
from tests.deploy.test_manifests import find
from tools.validate_deploy import VALUES, faults_of, rendered, values_files

TOKEN = "a token that callers must show"


async def smoke(workers: Launched, control: Launched) -> None:
    """Probes are answered, a caller with the token is answered and one without is not, and SIGTERM ends both in good order."""
    await asyncio.gather(workers.started(), control.started())
    assert await workers.all_probes() == [200, 200, 200]
    assert await control.all_probes() == [200, 200, 200]
    url = f"ws://127.0.0.1:{workers.ports['calls']}/v1/rtc/ws"
    async with Client.connect(url, tenant="t", token=TOKEN) as call:
        call.say("hello")
        await call.signal("commit")
        await call.hang_up()
    with pytest.raises(ConnectionLost):
        async with Client.connect(url, tenant="t", token="another"):
            pass
    for one in (workers, control):
        one.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(workers.process.wait(), 20) == 0
    assert await asyncio.wait_for(control.process.wait(), 20) == 0


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.proves("NF-007")
def test_the_manifests_of_two_distributions_are_portable_and_their_processes_pass_a_smoke_test(
    tmp_path: Path,
) -> None:
    for path in values_files():
        made = rendered(yaml.safe_load(path.read_text()))
        assert faults_of(made) == []
        vendor = {"apiVersion": "eks.amazonaws.com/v1", "kind": "NodeClass", "metadata": {"name": "x"}}
        assert faults_of([*made, vendor])

    async def main() -> None:
        objects = rendered(yaml.safe_load((VALUES / "k3s.yaml").read_text()))
        config = find(objects, "ConfigMap", "rspp-pipelines")
        pods = [
            find(objects, kind, name)["spec"]["template"]["spec"]
            for kind, name in (("StatefulSet", "rspp-workers"), ("Deployment", "rspp-control"))
        ]
        files = {"/etc/rspp/pipelines": tmp_path / "pipelines", "/run/rspp-keys": tmp_path / "secret"}
        files |= {"/etc/rspp/keys": tmp_path / "volume", "/var/lib/rspp": tmp_path / "data"}
        for mounted in ("/etc/rspp/pipelines", "/run/rspp-keys", "/etc/rspp/keys"):
            files[mounted].mkdir()
            files[mounted].chmod(0o2777)  # as a cluster makes volumes of a pod with a group of its own
        for name, text in config["data"].items():
            (tmp_path / "pipelines" / name).write_text(text)
        async with NatsCluster(tmp_path / "nats", nodes=1) as nats:
            await begin(nats.store_url, tmp_path / "keys", "admin", tmp_path / "admin.token")
            for file in (tmp_path / "keys").iterdir():
                secret = files["/run/rspp-keys"] / file.name
                secret.write_bytes(file.read_bytes())
                secret.chmod(0o440)
            given = {
                "metadata.name": "rspp-workers-0",
                "status.podIP": "127.0.0.1",
                "rspp-call-token/token": TOKEN,
                "RSPP_STORE": nats.store_url,
            }
            async with (
                launched(pods[0], tmp_path, given, files) as workers,
                launched(pods[1], tmp_path, given, files) as control,
            ):
                await smoke(workers, control)

    asyncio.run(main())
