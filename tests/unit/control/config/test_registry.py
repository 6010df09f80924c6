"""What is in the registry compiles, is what was published, and breaks nobody who did not ask for a new major version."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

import rspp
from rspp.contract.errors import MisuseError, PeerFault
from rspp.contract.words import CORE_SCHEMA_VERSION, EventKind
from rspp.control.config.compatibility import breaks, neighbour, next_neighbour
from rspp.control.config.registry import Registry, SpecRefused
from rspp.control.names import CONFIG, key
from rspp.kernel.hosting import Context
from rspp.spec import compile_text
from rspp.spec.graph import Role
from tests.unit.control.published import Plane, points_of, spec_text


class Shout(rspp.Node):
    declaration = rspp.NodeDeclaration(
        name="shout", version="v1", inputs={"text": (EventKind.TEXT,)}, outputs={"text": (EventKind.TEXT,)}
    )

    def on_event(self, ctx: Context, port: str, event: Any) -> None:
        del port
        ctx.emit("text", event.payload)


WITH_NODE = """
pipeline: own
version: v1
providers: {stt: a, llm: b, tts: c}
nodes:
  caller: {type: transport.in, version: v1}
  vad: {type: vad, version: v1}
  stt: {type: stt, version: v1}
  llm: {type: llm, version: v1}
  own: {%s}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: [vad.audio, stt.audio]}
  - {from: stt.final, to: llm.text}
  - {from: llm.text, to: own.text}
  - {from: own.text, to: tts.text}
  - {from: tts.audio, to: speaker.audio}
"""
NAMED = WITH_NODE % "type: shout, version: v1"
BY_CLASS = WITH_NODE % f"type: custom, version: v1, implementation: '{__name__}:Shout'"
HOSTILE = WITH_NODE % "type: custom, version: v1, implementation: 'os:system'"


@pytest.mark.proves("F-015")
def test_a_published_version_is_immutable_and_stays_available_beside_its_successor() -> None:
    async def main() -> None:
        plane = Plane()
        first = await plane.registry.publish(spec_text("v1"), "ada")
        with pytest.raises(MisuseError) as caught:
            await plane.registry.publish(spec_text("v1", metadata={"about": "other"}), "eve")
        assert caught.value.code == "version_exists"
        assert await plane.registry.get("voice", "v1") == first
        second = await plane.registry.publish(spec_text("v2"), "bob")
        assert (await plane.registry.want("voice", "v1")).text == spec_text("v1")
        assert (await plane.registry.want("voice", "v2")).text == spec_text("v2") == second.text
        where = key("spec", "voice", "v1")
        entry = await plane.store.get(CONFIG, where)
        assert entry is not None
        await plane.store.put(CONFIG, where, entry.value.replace(b"stt-a", b"stt-x"))
        with pytest.raises(PeerFault) as corrupt:
            await plane.registry.get("voice", "v1")
        assert corrupt.value.code == "document_corrupt"
        assert (await plane.registry.want("voice", "v2")).text == second.text

    asyncio.run(main())


def test_what_is_listed_says_who_published_what_and_when() -> None:
    async def main() -> None:
        plane = Plane()
        await plane.registry.publish(spec_text("v1"), "ada")
        plane.clock.advance(1_000)
        await plane.registry.publish(spec_text("v2"), "bob")
        await plane.registry.publish(spec_text("v1", "other"), "bob")
        assert await plane.registry.pipelines() == ["other", "voice"]
        first, second = await plane.registry.versions("voice")
        assert (first.author, second.author) == ("ada", "bob")
        assert second.created_at_ms == first.created_at_ms + 1_000
        assert (first.release, first.schema) == (rspp.__version__, CORE_SCHEMA_VERSION)
        assert first.fingerprint == compile_text(spec_text("v1")).fingerprint
        assert (await plane.registry.graph("voice", "v1")).ref == "graph/voice@v1"
        assert await plane.registry.get("voice", "v9") is None
        with pytest.raises(PeerFault, match="document_missing"):
            await plane.registry.want("nothing", "v1")

    asyncio.run(main())


def test_publishing_the_same_text_again_is_no_change() -> None:
    async def main() -> None:
        plane = Plane()
        first = await plane.registry.publish(spec_text("v1"), "ada")
        plane.clock.advance(1_000)
        assert await plane.registry.publish(spec_text("v1"), "bob") == first

    asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("", {"empty"}),
        ("- a list", {"not_a_mapping"}),
        (spec_text(providers={"stt": "a", "tts": "c"}), {"provider_missing"}),
        (spec_text(template="vioce", budgets={"turn_budget_ms": 0}), {"unknown_template", "out_of_range"}),
        (spec_text(provider_settings={"stt-a": {"api_key": "sk-very-secret"}}), {"literal_secret"}),
    ],
    ids=["empty", "list", "no provider", "two faults", "a secret"],
)
def test_a_spec_with_problems_is_refused_with_all_of_them_and_nothing_is_stored(
    text: str, codes: set[str]
) -> None:
    async def main() -> None:
        plane = Plane()
        with pytest.raises(SpecRefused) as caught:
            await plane.registry.publish(text, "ada")
        assert codes <= {problem.code for problem in caught.value.problems}
        assert "sk-very-secret" not in f"{caught.value} {caught.value.problems}"
        assert await plane.store.keys(CONFIG) == []

    asyncio.run(main())


def test_a_node_that_an_installed_package_offers_may_be_published_by_name_or_by_its_class() -> None:
    async def main() -> None:
        plane = Plane(points_of(shout=f"{__name__}:Shout"))
        await plane.registry.publish(NAMED, "ada")
        await plane.registry.publish(BY_CLASS.replace("pipeline: own", "pipeline: by-class"), "ada")
        graph = await plane.registry.graph("own", "v1")
        assert "shout@v1" in {node.type for node in graph.nodes}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "code"),
    [(NAMED, "node_unknown"), (BY_CLASS, "node_not_installed"), (HOSTILE, "node_not_installed")],
)
def test_a_node_that_no_installed_package_offers_cannot_be_published_and_is_not_imported(
    text: str, code: str
) -> None:
    async def main() -> None:
        with pytest.raises(SpecRefused) as caught:
            await Plane().registry.publish(text, "ada")
        (problem,) = caught.value.problems
        assert problem.code == code
        assert problem.line > 1
        assert problem.path.startswith("nodes.own")

    asyncio.run(main())


def test_a_class_inside_a_module_of_the_spec_is_looked_at_as_well() -> None:
    tree = {
        **json.loads(spec_text()),
        "subgraphs": {
            "deep": {
                "version": "v1",
                "nodes": {"x": {"type": "custom", "version": "v1", "implementation": "os:system"}},
            }
        },
    }

    async def main() -> None:
        with pytest.raises(SpecRefused) as caught:
            await Plane().registry.publish(json.dumps(tree), "ada")
        assert "node_not_installed" in {problem.code for problem in caught.value.problems}

    asyncio.run(main())


@pytest.mark.parametrize("bumped", [False, True])
def test_a_break_needs_a_new_major_version(bumped: bool) -> None:
    """The successor gives callers no captions any more."""
    spoken = NAMED.replace("own.text, to: tts.text", "own.text, to: [tts.text, speaker.text]")
    spoken = spoken.replace("type: shout", "type: text_filter")
    silent = spoken.replace("[tts.text, speaker.text]", "tts.text")

    async def main() -> None:
        registry = Plane().registry
        await registry.publish(spoken.replace("version: v1\nproviders", "version: v1.0\nproviders"), "ada")
        wanted = "v2.0" if bumped else "v1.1"
        text = silent.replace("version: v1\nproviders", f"version: {wanted}\nproviders")
        if bumped:
            await registry.publish(text, "ada")
            assert [one.version for one in await registry.versions("own")] == ["v1.0", "v2.0"]
        else:
            with pytest.raises(MisuseError) as caught:
                await registry.publish(text, "ada")
            assert caught.value.code == "version_bump_missing"
            assert "callers are not given text any more" in caught.value.message

    asyncio.run(main())


def test_a_version_slipped_in_below_another_must_fit_that_one_too() -> None:
    spoken = (NAMED.replace("type: shout", "type: text_filter")).replace(
        "own.text, to: tts.text", "own.text, to: [tts.text, speaker.text]"
    )
    silent = spoken.replace("[tts.text, speaker.text]", "tts.text")

    def as_version(text: str, version: str) -> str:
        return text.replace("version: v1\nproviders", f"version: {version}\nproviders")

    async def main() -> None:
        registry = Plane().registry
        await registry.publish(as_version(silent, "v1.2"), "ada")
        with pytest.raises(MisuseError, match=r"until v1\.2"):
            await registry.publish(as_version(spoken, "v1.1"), "ada")
        await registry.publish(as_version(spoken, "v1.3"), "ada")

    asyncio.run(main())


def test_everything_that_breaks_a_user_is_named_and_an_addition_is_no_break() -> None:
    old = compile_text(spec_text())
    assert breaks(old, compile_text(spec_text("v2", budgets={"turn_budget_ms": 9_000}))) == []
    kinds: tuple[EventKind, ...] = ()
    edges = tuple(
        msgspec.structs.replace(edge, kinds=kinds) if edge.source == "caller" else edge for edge in old.edges
    )
    (deaf,) = breaks(old, msgspec.structs.replace(old, edges=edges))
    assert deaf == "callers' audio is not taken any more"
    assert breaks(msgspec.structs.replace(old, edges=edges), old) == []
    more = msgspec.structs.replace(old.nodes[-2], id="tool", role=Role.CALL, modality="external")
    assert breaks(old, msgspec.structs.replace(old, nodes=(*old.nodes, more))) == [
        "a provider for external is now needed"
    ]
    assert len(breaks(old, msgspec.structs.replace(old, profile="simple/v2"))) == 1
    own = msgspec.structs.replace(old.nodes[-2], id="own", type="shout@v1.2", version="v1.2")
    with_own = msgspec.structs.replace(old, nodes=(*old.nodes, own))
    for version, count in (("v1.9", 0), ("v2.0", 1)):
        newer = msgspec.structs.replace(own, type=f"shout@{version}", version=version)
        assert len(breaks(with_own, msgspec.structs.replace(old, nodes=(*old.nodes, newer)))) == count


def test_neighbours_are_of_one_major_version_and_counted_as_numbers() -> None:
    there = ["v1.2", "v1.10", "v2", "beta", "v2.1"]
    assert neighbour("v1.11", there) == "v1.10"
    assert neighbour("v1.9", there) == "v1.2"
    assert next_neighbour("v1.9", there) == "v1.10"
    assert neighbour("v3", there) is None
    assert neighbour("beta", there) is None


def test_two_control_planes_that_publish_at_once_agree_on_one() -> None:
    async def main() -> None:
        plane = Plane()
        other = Registry(plane.store, wall_ms=plane.wall_ms, points=tuple)
        done = await asyncio.gather(
            plane.registry.publish(spec_text("v1", metadata={"about": "a"}), "ada"),
            other.publish(spec_text("v1", metadata={"about": "b"}), "bob"),
            return_exceptions=True,
        )
        assert sum(isinstance(one, MisuseError) for one in done) == 1

    asyncio.run(main())
