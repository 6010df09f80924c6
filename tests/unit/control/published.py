"""A small control plane for tests: specs, policies and provider configs in a store, and who reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from typing import Any

from rspp.control.config.plugins import Plugins
from rspp.control.config.policies import Policies
from rspp.control.config.policy import POLICY, PROVIDERS
from rspp.control.config.registry import Published, Registry
from rspp.control.config.rollouts import Rollouts
from rspp.host.ports import Entry, Store
from rspp.testing.store import ManualClock, MemoryStore


class Slow(MemoryStore):
    """A store that lets others in between before it answers, as every real one does."""

    async def get(self, bucket: str, key: str) -> Entry | None:
        found = await super().get(bucket, key)
        await asyncio.sleep(0)
        return found


def spec_text(version: str = "v1", pipeline: str = "voice", **more: object) -> str:
    providers = {"stt": ["stt-a", "stt-b"], "llm": ["llm-a", "llm-b", "llm-c"], "tts": "tts-a"}
    tree: dict[str, object] = {
        "pipeline": pipeline,
        "version": version,
        "template": "voice",
        "providers": providers,
        "metadata": {"about": version},
    }
    return json.dumps({**tree, **more})


def points_of(**values: str) -> Callable[[], Sequence[EntryPoint]]:
    """Entry points by name: `shout="tests.unit...:Shout"`."""
    return lambda: [EntryPoint(name, value, "test") for name, value in values.items()]


class Plane:
    """Everything that a control plane writes, by one author."""

    def __init__(
        self,
        points: Callable[[], Sequence[EntryPoint]] = tuple,
        plugins: Plugins | None = None,
        store: Store | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.store: Store = store or MemoryStore(self.clock)
        self.registry = Registry(self.store, wall_ms=self.wall_ms, points=points)
        self.rollouts = Rollouts(self.store, wall_ms=self.wall_ms)
        self.kinds = {
            kind: Policies(self.store, kind, wall_ms=self.wall_ms, points=points, plugins=plugins)
            for kind in (POLICY, PROVIDERS)
        }

    def wall_ms(self) -> int:
        return self.clock.wall() // 1_000_000

    async def serve(self, version: str = "v1", pipeline: str = "voice", **more: object) -> Published:
        """Publish a version, and make it the base if there is none."""
        published = await self.registry.publish(spec_text(version, pipeline, **more), "ada")
        if await self.rollouts.get(pipeline) is None:
            await self.rollouts.begin(pipeline, version, author="ada")
        return published

    async def govern(self, name: str, version: str, kind: str = POLICY, **tree: Any) -> None:
        """Publish a version of a policy, or of a provider config, and put it in force."""
        await self.kinds[kind].publish(name, version, json.dumps(tree or {"facts": {}}), author="ada")
        await self.kinds[kind].put_in_force(name, version, author="ada")
