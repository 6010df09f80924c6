"""The chart makes objects that any Kubernetes takes, and what would break a deployment is found before there is one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tools import validate_deploy
from tools.validate_deploy import Object, faults_of, plain, rendered, values_files

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return rendered({})


def find(objects: list[Object], kind: str, name: str) -> Object:
    return next(one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name)


def test_every_file_of_values_makes_objects_that_two_versions_of_kubernetes_take() -> None:
    assert [path.stem for path in values_files()] == ["k3s", "kubeadm"]
    for path in values_files():
        made = rendered(yaml.safe_load(path.read_text()))
        assert faults_of(made) == []
        assert len(made) >= 11


def test_the_plain_manifests_are_what_the_chart_makes_and_name_no_namespace(objects: list[Object]) -> None:
    assert validate_deploy.MANIFESTS.read_text() == plain()
    assert all("namespace" not in one["metadata"] for one in objects)


def test_callers_reach_every_process_at_its_own_port_and_nothing_beside_it() -> None:
    for values in ({}, *(yaml.safe_load(path.read_text()) for path in values_files())):
        made = rendered(values)
        (container,) = find(made, "StatefulSet", "rspp-workers")["spec"]["template"]["spec"]["containers"]
        given = dict(one.removeprefix("--").split("=", 1) for one in container["args"])
        first, count = int(given["direct-port"]), int(given["workers"])
        calls = find(made, "NetworkPolicy", "rspp-workers")["spec"]["ingress"][0]["ports"]
        assert calls == [{"port": "calls"}, {"port": first, "endPort": first + count}]


def _no_probe(objects: list[Object]) -> None:
    del find(objects, "StatefulSet", "rspp-workers")["spec"]["template"]["spec"]["containers"][0][
        "readinessProbe"
    ]


def _bad_probe(objects: list[Object]) -> None:
    container = find(objects, "StatefulSet", "rspp-workers")["spec"]["template"]["spec"]["containers"][0]
    container["livenessProbe"] = {"httpGet": {"path": "/livez"}}


def _wrong_port(objects: list[Object]) -> None:
    container = find(objects, "Deployment", "rspp-control")["spec"]["template"]["spec"]["containers"][0]
    container["livenessProbe"]["httpGet"]["port"] = "admin"


def _vendor_object(objects: list[Object]) -> None:
    objects.append(
        {"apiVersion": "cloud.google.com/v1", "kind": "BackendConfig", "metadata": {"name": "x"}, "spec": {}}
    )


def _vendor_annotation(objects: list[Object]) -> None:
    key = "service.beta.kubernetes.io/aws-load-balancer-type", "eks.amazonaws.com/role-arn"
    find(objects, "ServiceAccount", "rspp")["metadata"]["annotations"] = dict.fromkeys(key, "x")


def _misspelt(objects: list[Object]) -> None:
    find(objects, "StatefulSet", "rspp-workers")["spec"]["replicaz"] = 2


def _wrong_type(objects: list[Object]) -> None:
    find(objects, "HorizontalPodAutoscaler", "rspp-workers")["spec"]["maxReplicas"] = "many"


def _no_time(objects: list[Object]) -> None:
    find(objects, "StatefulSet", "rspp-workers")["spec"]["template"]["spec"][
        "terminationGracePeriodSeconds"
    ] = 31


def _nobody_selected(objects: list[Object]) -> None:
    find(objects, "Service", "rspp-calls")["spec"]["selector"]["app.kubernetes.io/component"] = "worker"


def _nothing_scaled(objects: list[Object]) -> None:
    find(objects, "HorizontalPodAutoscaler", "rspp-workers")["spec"]["scaleTargetRef"]["name"] = "workers"


def _a_secret(objects: list[Object]) -> None:
    objects.append(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "stringData": {"a": "b"}}
    )


def _as_root(objects: list[Object]) -> None:
    del find(objects, "Deployment", "rspp-control")["spec"]["template"]["spec"]["securityContext"]


def _no_config(objects: list[Object]) -> None:
    objects.remove(find(objects, "ConfigMap", "rspp-pipelines"))


BREAKS: list[tuple[Callable[[list[Object]], None], str]] = [
    (_no_probe, "no readinessProbe"),
    (_bad_probe, "not valid for Kubernetes 1.37 at spec.template.spec.containers.0.livenessProbe.httpGet"),
    (_wrong_port, "livenessProbe asks a port that there is not"),
    (_vendor_object, "cloud.google.com is not Kubernetes' own"),
    (_vendor_annotation, "eks.amazonaws.com/role-arn is one provider's"),
    (_misspelt, "'replicaz' was unexpected"),
    (_wrong_type, "'many' is not of type 'integer'"),
    (_no_time, "too few for a drain"),
    (_nobody_selected, "selects no pod"),
    (_nothing_scaled, "which there is not"),
    (_a_secret, "secrets are named here"),
    (_as_root, "may run as root"),
    (_no_config, "there is no ConfigMap"),
]


@pytest.mark.parametrize(("breaks", "told"), BREAKS, ids=[breaks.__name__.strip("_") for breaks, _ in BREAKS])
def test_what_would_break_a_deployment_is_found(
    objects: list[Object], breaks: Callable[[list[Object]], None], told: str
) -> None:
    broken = copy.deepcopy(objects)
    breaks(broken)
    assert any(told in fault for fault in faults_of(broken)), faults_of(broken)


@pytest.mark.parametrize("drain_ms", [1_000, 30_000, 600_000])
def test_pods_are_given_longer_than_a_drain_whatever_it_is(drain_ms: int) -> None:
    made = rendered({"workers": {"drainMs": drain_ms}})
    assert faults_of(made, ("1.37",)) == []


def test_without_a_token_for_callers_nothing_is_rendered() -> None:
    with pytest.raises(Exception, match="callers must show a token"):
        rendered({"workers": {"token": {"existingSecret": ""}}})


def test_a_metric_that_is_not_wanted_is_not_asked_for() -> None:
    values: dict[str, Any] = {
        "autoscaling": {"loadTarget": "0", "queueDepthTarget": "0", "loopLagTarget": "0"}
    }
    hpa = find(rendered(values), "HorizontalPodAutoscaler", "rspp-workers")
    assert [metric["type"] for metric in hpa["spec"]["metrics"]] == ["Resource"]
