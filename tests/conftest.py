"""The feature trace: a test says which rows of docs/features.tsv it proves, and the run remembers how it went.

    @pytest.mark.proves("F-043", "F-044")
    def test_a_late_chunk_is_dropped_where_it_stands(): ...

An id that the table does not have is a collection error, for a proof of nothing is worse than none.
The outcomes are kept in pytest's cache; `make features` (tools/features.py) reads them.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from tools.features import OUTCOMES_KEY, read_rows, worse

KNOWN_IDS = frozenset(row.id for row in read_rows())


@pytest.fixture(scope="session", autouse=True)
def _recordings_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Commands record what they do; in tests not into the folder where somebody works."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSPP_DATA", str(tmp_path_factory.mktemp("recordings")))
        yield


def proven_by(item: pytest.Item) -> list[str]:
    return list(dict.fromkeys(str(arg) for mark in item.iter_markers("proves") for arg in mark.args))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--proofs-to", metavar="FILE", help="write which test proves which feature row, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(FeatureTrace(config), "rspp-feature-trace")


class FeatureTrace:
    """Carries the proofs of one run from its collection to its end."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.proofs: dict[str, list[str]] = {}
        self.outcomes: dict[str, str] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """A wrong id fails the collection of its own file, with a message that names the test."""
        report = yield
        faults = [
            f"{item.nodeid} proves {feature_id!r}, which docs/features.tsv does not have"
            for item in report.result or ()
            if isinstance(item, pytest.Item)
            for feature_id in proven_by(item)
            if feature_id not in KNOWN_IDS
        ]
        if faults:
            report.outcome = "failed"
            report.longrepr = "\n".join(faults)
            report.result = []
        return report

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        # User properties travel with the report from a worker to the process that writes the cache.
        item.user_properties.extend(("proves", feature_id) for feature_id in proven_by(item))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.proofs = {item.nodeid: ids for item in session.items if (ids := proven_by(item))}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if any(name == "proves" for name, _ in report.user_properties):
            self.outcomes[report.nodeid] = worse(self.outcomes.get(report.nodeid), report.outcome)

    def pytest_sessionfinish(self) -> None:
        if hasattr(self.config, "workerinput"):
            return  # the process that started the workers hears every report, and it alone writes
        if target := self.config.getoption("--proofs-to"):
            Path(target).write_text(
                json.dumps(self.proofs, indent=1, sort_keys=True) + "\n", encoding="utf-8"
            )
        cache = getattr(self.config, "cache", None)  # absent under -p no:cacheprovider
        if cache is not None and self.outcomes:
            cache.set(OUTCOMES_KEY, {**cache.get(OUTCOMES_KEY, {}), **self.outcomes})


@pytest.fixture(scope="session")
def models() -> None:
    """Every model of a default pipeline is on this machine: fetched once into the user's cache, by the command's own code."""
    from rspp.adapters.providers.local.catalogue import CATALOGUE
    from rspp.adapters.providers.local.fetch import fetch
    from rspp.adapters.providers.local.weights import cache_folder, is_present

    for weights in CATALOGUE.values():
        if weights.by_default and not is_present(weights, cache_folder()):
            fetch(weights, cache_folder(), lambda line: None)
