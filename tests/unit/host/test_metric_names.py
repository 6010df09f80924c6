"""One table of metrics: code, documentation, dashboards and alert rules know no name and no label that it lacks."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from rspp.host.metric_names import METRICS, OF_SUPERVISORS, PREFIX, Kind, is_declared, labels_of
from rspp.host.metric_page import BEGIN, END, endings, markdown

ROOT = Path(__file__).parents[3]
DASHBOARDS = sorted((ROOT / "deploy/dashboards").glob("*.json"))
RULES = sorted((ROOT / "deploy/alerts").glob("*.yaml"))
FUNCTIONS = {"rate", "sum", "max", "by", "histogram_quantile", "le", "or"}


def meters_in(path: Path) -> Iterator[tuple[str, str, set[str]]]:
    """Each meter that a module asks for by a literal name: kind, name, and the labels that it gives in so many words."""
    text = path.read_text(encoding="utf-8")
    if re.search(r"\.(?:counter|gauge|histogram)\(", text) is None:
        return
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in ("counter", "gauge", "histogram") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                whole = all(word.arg is not None for word in node.keywords)
                labels = {str(word.arg) for word in node.keywords}
                yield node.func.attr, first.value, labels if whole else {"*"}


def test_every_meter_of_the_code_is_in_the_table_with_its_labels() -> None:
    found = [
        (path, *meter) for path in sorted((ROOT / "src/rspp").rglob("*.py")) for meter in meters_in(path)
    ]
    assert len(found) > 40
    kinds = {"counter": {Kind.COUNTER}, "gauge": {Kind.GAUGE}, "histogram": {Kind.HISTOGRAM, Kind.SUMMARY}}
    faults = []
    for path, kind, name, labels in found:
        if name == "node_step_ns":
            continue  # an example in words
        if name not in METRICS or METRICS[name].kind not in kinds[kind]:
            faults.append(f"{path.name}: {kind} {name}")
        elif labels != {"*"} and not is_declared(name, labels):
            faults.append(f"{path.name}: {name} with {sorted(labels)}")
    assert faults == []


def test_the_table_of_the_docs_is_the_table_of_the_code() -> None:
    text = (ROOT / "docs/telemetry.md").read_text(encoding="utf-8")
    there = text[text.index(BEGIN) : text.index(END) + len(END) + 1]
    assert there == markdown(), "replace it by what `rspp.host.metric_page.markdown()` says"


def samples() -> dict[str, set[str]]:
    """Every name that can be scraped, with its labels."""
    found = {f"{PREFIX}{name}": {*labels} for name, labels in OF_SUPERVISORS.items()}
    for metric in METRICS.values():
        for name in endings(metric):
            more = (
                {"le"} if name.endswith("_bucket") else {"quantile"} if metric.kind is Kind.SUMMARY else set()
            )
            found[name] = {*metric.labels, "worker", *more}
    return found


def faults_of(expression: str, known: dict[str, set[str]]) -> list[str]:
    """What an expression asks for that is not there."""
    faults = [] if expression.count("(") == expression.count(")") else ["parentheses"]
    used: set[str] = set()
    for name, _, matchers in re.findall(r"\b(rspp_\w+)(\{([^}]*)\})?", expression):
        if name not in known:
            faults.append(f"no metric {name}")
            continue
        used |= {name}
        asked = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)
        faults += [f"{name} has no label {label}" for label in asked if label not in known[name]]
    for labels in re.findall(r"by \(([^)]*)\)", expression):
        for label in map(str.strip, labels.split(",")):
            faults += [f"{name} has no label {label}" for name in used if label not in known[name]]
    if not used:
        faults.append("it asks for nothing")
    return faults


def queries(path: Path) -> Iterator[tuple[str, str]]:
    """Each expression, and the words in which its labels are shown."""
    if path.suffix == ".json":
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield target["expr"], target["legendFormat"]
    else:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield rule["expr"], " ".join(rule["annotations"].values()).replace("$labels.", "")


@pytest.mark.parametrize("path", [*DASHBOARDS, *RULES], ids=lambda path: path.name)
def test_what_dashboards_and_rules_ask_for_is_there(path: Path) -> None:
    known = samples()
    asked = list(queries(path))
    assert len(asked) >= 8
    for expression, legend in asked:
        assert faults_of(expression, known) == [], expression
        # Of all time since a process began: an alert on that comes late and never goes.
        assert "quantile=" not in expression
        shown = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend)) - {"value"}
        grouped = re.findall(r"by \(([^)]*)\)", expression)
        there = {label.strip() for labels in grouped for label in labels.split(",")}
        if not grouped:
            names = re.findall(r"\brspp_\w+", expression)
            there = set.intersection(*(known[name] for name in names))
        assert shown <= there, (expression, legend)


def test_an_expression_that_asks_for_what_is_not_there_is_found() -> None:
    known = samples()
    assert faults_of("rate(rspp_turn_total[5m])", known) == [
        "no metric rspp_turn_total",
        "it asks for nothing",
    ]
    assert faults_of('sum by (session) (rspp_turns_total{node="x"})', known) == [
        "rspp_turns_total has no label node",
        "rspp_turns_total has no label session",
    ]
    assert faults_of("sum(rspp_turns_total", known) == ["parentheses"]


def test_dashboards_are_four_with_ids_of_their_own_and_every_panel_says_what_it_shows() -> None:
    made: list[dict[str, Any]] = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert [path.stem for path in DASHBOARDS] == ["fleet", "latency", "overview", "providers"]
    assert len({one["uid"] for one in made}) == 4
    for one in made:
        ids = [panel["id"] for panel in one["panels"]]
        assert len(ids) == len(set(ids)) >= 8
        assert all(
            panel["description"] and panel["title"] and panel["fieldConfig"]["defaults"]["unit"]
            for panel in one["panels"]
        )
        places = [tuple(panel["gridPos"][key] for key in "xy") for panel in one["panels"]]
        assert len(places) == len(set(places))


def test_a_vendors_name_has_one_label_and_others_are_nobodys() -> None:
    assert labels_of("vendor_x_total") == ("provider",)
    assert labels_of("x_total") is None
    assert is_declared("edge_drops_total", ["pipeline", "pipeline_version", "edge", "provider"])
    assert not is_declared("edge_drops_total", ["edge"])
