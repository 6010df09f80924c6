"""The autoscaler of the manifests, over metrics: up under load, down after a while, and nothing where nothing is known."""

from __future__ import annotations

import pytest

from tests.deploy.scaler import Scaler, quantity
from tests.deploy.test_manifests import find
from tools.validate_deploy import rendered

IDLE = {"cpu": 0.05, "rspp_load": 0.05, "rspp_queue_depth": 0.0, "rspp_loop_lag_seconds": 0.001}


@pytest.fixture
def scaler() -> Scaler:
    return Scaler(find(rendered({}), "HorizontalPodAutoscaler", "rspp-workers"))


def test_quantities_are_read_as_kubernetes_writes_them() -> None:
    assert [quantity(text) for text in ("600m", "8", "2k")] == [0.6, 8.0, 2_000.0]


@pytest.mark.parametrize(
    ("metric", "value"),
    [("cpu", 1.4), ("rspp_load", 1.2), ("rspp_queue_depth", 16.0), ("rspp_loop_lag_seconds", 0.04)],
)
def test_any_one_of_the_metrics_that_is_twice_its_target_doubles_the_pods(
    scaler: Scaler, metric: str, value: float
) -> None:
    assert scaler.replicas(0.0, [{**IDLE, metric: value}] * 2) == 4


def test_near_the_target_nothing_is_done(scaler: Scaler) -> None:
    assert scaler.replicas(0.0, [{**IDLE, "rspp_load": 0.65}] * 3) == 3


def test_pods_go_one_by_one_and_only_when_the_load_has_been_gone_for_the_whole_window(scaler: Scaler) -> None:
    assert scaler.replicas(0.0, [{**IDLE, "rspp_load": 1.2}] * 2) == 4
    assert [scaler.replicas(at, [IDLE] * 4) for at in (10.0, 200.0, 299.0)] == [4, 4, 4]
    assert scaler.replicas(301.0, [IDLE] * 4) == 3
    assert scaler.replicas(330.0, [IDLE] * 3) == 3
    assert scaler.replicas(362.0, [IDLE] * 3) == 2
    assert scaler.replicas(900.0, [IDLE] * 2) == 2


def test_a_missing_metric_lets_nothing_be_taken_away_and_none_at_all_changes_nothing(scaler: Scaler) -> None:
    lacking = {name: value for name, value in IDLE.items() if name != "rspp_load"}
    assert [scaler.replicas(at, [lacking] * 4) for at in (0.0, 400.0, 800.0)] == [4, 4, 4]
    assert scaler.replicas(900.0, [{}] * 4) == 4
    assert scaler.replicas(901.0, [{"cpu": 1.4}] * 2) == 4


def test_there_are_never_more_pods_than_the_manifest_allows(scaler: Scaler) -> None:
    assert scaler.replicas(0.0, [{**IDLE, "rspp_load": 9.0}] * 9) == 10
