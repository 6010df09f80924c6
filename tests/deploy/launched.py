"""A container of a manifest as a process of this machine: its command, arguments, environment and probes as they stand there.

Only what a cluster gives is put in its place: files of volumes in a folder, addresses of this machine, values of secrets.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.ports import consecutive_ports, free_ports
from tools.validate_deploy import PROBES, Object

RSPP = (sys.executable, "-m", "rspp.cli.main")


class Launched:
    """The process, and its ports by name."""

    def __init__(self, process: Process, container: Object, ports: Mapping[str, int]) -> None:
        self.process, self.container, self.ports = process, container, ports

    async def probe(self, name: str) -> int | None:
        """What the kubelet would hear; None if nobody answers."""
        asked = self.container[name]["httpGet"]
        scheme = asked.get("scheme", "HTTP").lower()
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                url = f"{scheme}://127.0.0.1:{self.ports[asked['port']]}{asked['path']}"
                return (
                    await client.get(url, timeout=self.container[name].get("timeoutSeconds", 1))
                ).status_code
        except httpx.HTTPError:
            return None

    async def started(self) -> None:
        """Its startup probe has been answered, within the time that the manifest gives it."""
        probe = self.container["startupProbe"]
        async with asyncio.timeout(min(30, probe["periodSeconds"] * probe["failureThreshold"])):
            while await self.probe("startupProbe") != 200:
                assert self.process.returncode is None
                await asyncio.sleep(0.05)

    async def all_probes(self) -> list[int | None]:
        return [await self.probe(name) for name in PROBES]


@asynccontextmanager
async def launched(
    pod: Object, folder: Path, given: Mapping[str, str], files: Mapping[str, Path]
) -> AsyncIterator[Launched]:
    """`given`: values of the environment that a cluster would give. `files`: what is mounted, by path in the container."""
    (container,) = pod["containers"]
    ports = dict(
        zip([port["name"] for port in container["ports"]], free_ports(len(container["ports"])), strict=True)
    )
    numbers = {str(port["containerPort"]): str(ports[port["name"]]) for port in container["ports"]}

    def here(text: str) -> str:
        if text.startswith("--direct-port="):
            return f"--direct-port={consecutive_ports(8)}"
        for mounted, real in files.items():
            text = text.replace(mounted, str(real))
        return re.sub(r"0\.0\.0\.0:(\d+)", lambda found: f"0.0.0.0:{numbers[found[1]]}", text)

    environment = {
        "PATH": os.environ["PATH"],
        **{key: value for key, value in given.items() if key.isupper()},
    }
    for one in container.get("env", []):
        environment[one["name"]] = given.get(one["name"]) or here(_value(one, given))
    for first in pod.get("initContainers", ()):
        step = await asyncio.create_subprocess_exec(*first["command"], *map(here, first["args"]))
        assert await step.wait() == 0
    written: list[str] = [*container["command"], *container["args"]]
    program, rest = written[0], written[1:]
    assert program == "rspp"
    process = await asyncio.create_subprocess_exec(
        *RSPP, *map(here, rest), env=environment, cwd=folder, stdout=PIPE, stderr=PIPE
    )
    try:
        yield Launched(process, container, ports)
    finally:
        if process.returncode is None:
            process.kill()
        _, errors = await process.communicate()
        sys.stderr.write(errors.decode())


def _value(one: dict[str, Any], given: Mapping[str, str]) -> str:
    if "value" in one:
        return str(one["value"])
    source = one["valueFrom"]
    if "fieldRef" in source:
        return given[source["fieldRef"]["fieldPath"]]
    return given[f"{source['secretKeyRef']['name']}/{source['secretKeyRef']['key']}"]
