"""Which nodes a spec may name: what packages offer; and for a developer's own process what lies beside the file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rspp.control.config.nodes import Beside, nodes_for

NODE = """
import rspp

class Quiet(rspp.Node):
    declaration = rspp.NodeDeclaration(
        name="quiet", version="v1",
        inputs={"text": (rspp.EventKind.TEXT,)}, outputs={"text": (rspp.EventKind.TEXT,)},
    )

    def on_event(self, ctx, port, event):
        ctx.emit("text", event.payload)
"""
SPEC = "pipeline: desk\nversion: v1\nnodes:\n  own: {type: custom, implementation: IMPLEMENTATION, version: v1}\n"


def spec(implementation: str) -> str:
    return SPEC.replace("IMPLEMENTATION", f'"{implementation}"')


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "quiet_module.py").write_text(NODE)
    yield tmp_path
    sys.modules.pop("quiet_module", None)


def test_a_module_beside_the_file_is_had_where_its_folder_was_named_and_nowhere_else(folder: Path) -> None:
    text = spec("quiet_module:Quiet")
    found = nodes_for(text, "desk.yaml", Beside(folder))
    assert found.problems == ()
    assert "quiet_module:Quiet@v1" in found.catalog.types
    (problem,) = nodes_for(text, "desk.yaml").problems
    assert problem.code == "node_not_installed"
    assert "without --keys" in str(problem)


@pytest.mark.parametrize("module", ["antigravity", "os", "no_such_module", "..quiet_module", "", "a.b"])
def test_a_module_of_any_other_place_is_refused_and_never_imported(folder: Path, module: str) -> None:
    before = set(sys.modules)
    problems = nodes_for(spec(f"{module}:Quiet"), "desk.yaml", Beside(folder)).problems
    assert [one.code for one in problems] == ["node_not_installed"]
    assert set(sys.modules) - before <= {module} & before


def test_a_class_that_is_not_in_the_module_is_a_problem_with_a_line(folder: Path) -> None:
    (problem,) = nodes_for(spec("quiet_module:Loud"), "desk.yaml", Beside(folder)).problems
    assert (problem.code, problem.line) == ("node_class_missing", 4)
