"""What is under deploy/ would be taken by any Kubernetes: rendered by Helm itself, checked without a cluster or a network.

    python tools/validate_deploy.py                 check the chart with every file of values, and the plain manifests
    python tools/validate_deploy.py --write         write deploy/manifests/rspp.yaml anew from the chart

Each object is checked against the schemas of two versions of Kubernetes, strictly, and against what is our own to keep: no
vendor's API, a probe of each kind, time enough to drain, nothing runs as root, secrets only by name, and no reference to
what is not there. Rendering needs `helm-python-sdk` (Helm's own code as a library), the schemas are `kubernetes-validate`'s.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import kubernetes_validate  # type: ignore[import-untyped]
import yaml  # type: ignore[import-untyped]

ROOT: Final = Path(__file__).resolve().parents[1]
CHART: Final = ROOT / "deploy" / "chart"
VALUES: Final = ROOT / "deploy" / "values"
MANIFESTS: Final = ROOT / "deploy" / "manifests" / "rspp.yaml"
# The oldest that the chart says it takes, by what the schemas hold, and the newest.
VERSIONS: Final = ("1.28", "1.37")
RELEASE: Final = "rspp"
# Groups that are Kubernetes' own. Anything else is somebody's extension, and need not be there.
GROUPS: Final = frozenset(
    {"", "apps", "autoscaling", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io"}
)
# Annotations and labels of these make an object mean something to one provider only.
VENDORS: Final = (
    "amazonaws.com",
    "azure.com",
    "gke.io",
    "google.com",
    "openshift.io",
    "digitalocean.com",
    "oraclecloud.com",
)
PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")
PODS: Final = ("Deployment", "StatefulSet", "DaemonSet")
GRACE_SLACK_MS: Final = 15_000  # after a drain: evidence is written and exported

Object = dict[str, Any]


def rendered(values: Mapping[str, Any]) -> list[Object]:
    """What Helm makes of the chart with these values; raises what Helm raises."""
    from helm_python import Chart  # noqa: PLC0415 - a library of some size, and only for this

    with Chart.load(CHART) as chart:
        files = chart.render(dict(values), name=RELEASE)
    return [one for name in sorted(files) for one in yaml.safe_load_all(files[name]) if one]


def values_files() -> list[Path]:
    return sorted(VALUES.glob("*.yaml"))


def faults_of(objects: list[Object], versions: Iterable[str] = VERSIONS) -> list[str]:
    """Everything that is wrong with these objects, one sentence each."""
    return [
        *(fault for one in objects for fault in _schema_faults(one, versions)),
        *(fault for one in objects for fault in _vendor_faults(one)),
        *(fault for one in objects for fault in _secret_faults(one)),
        *(fault for one in objects if one.get("kind") in PODS for fault in _pod_faults(one)),
        *_reference_faults(objects),
    ]


def _name(one: Object) -> str:
    return f"{one.get('kind')} {one.get('metadata', {}).get('name')}"


def _schema_faults(one: Object, versions: Iterable[str]) -> Iterator[str]:
    text = json.dumps(one, sort_keys=True)
    for version in versions:
        fault = _schema_fault(text, version)
        if fault:
            yield f"{_name(one)}: {fault}"


@cache
def _schema_fault(text: str, version: str) -> str:
    """What the schema has against this object. Remembered: each question parses the whole of Kubernetes' schemas anew."""
    one = json.loads(text)
    try:
        kubernetes_validate.validate(one, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        return f"Kubernetes {version} has no {one.get('apiVersion')} {one.get('kind')}"
    except kubernetes_validate.ValidationError as error:
        where = ".".join(str(part) for part in error.path)
        return f"not valid for Kubernetes {version} at {where}: {error.message[:200]}"
    except KeyError as error:
        return f"no {error}"
    return ""


def _vendor_faults(one: Object) -> Iterator[str]:
    group = str(one.get("apiVersion", "")).rpartition("/")[0]
    if group not in GROUPS:
        yield f"{_name(one)}: {group} is not Kubernetes' own"
    metadata = one.get("metadata", {})
    for key in (*metadata.get("annotations", {}), *metadata.get("labels", {})):
        if any(key.partition("/")[0].endswith(vendor) for vendor in VENDORS):
            yield f"{_name(one)}: {key} is one provider's"


def _secret_faults(one: Object) -> Iterator[str]:
    if one.get("kind") == "Secret":
        yield f"{_name(one)}: secrets are named here, and made elsewhere"


def _pod_faults(one: Object) -> Iterator[str]:
    pod = one["spec"]["template"]["spec"]
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True:
        yield f"{_name(one)}: may run as root"
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        yield from _container_faults(f"{_name(one)}, container {container['name']}", container)
    for container in pod["containers"]:
        where = f"{_name(one)}, container {container['name']}"
        yield from (f"{where}: no {probe}" for probe in PROBES if probe not in container)
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in PROBES:
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            if port is not None and port not in ports:
                yield f"{where}: {probe} asks a port that there is not: {port}"
        drain_ms = _argument(container, "--drain-ms")
        grace_ms = 1000 * pod.get("terminationGracePeriodSeconds", 30)
        if drain_ms is not None and grace_ms < int(drain_ms) + GRACE_SLACK_MS:
            yield f"{where}: {grace_ms} ms of grace are too few for a drain of {drain_ms} ms"


def _container_faults(where: str, container: Object) -> Iterator[str]:
    own = container.get("securityContext", {})
    if own.get("readOnlyRootFilesystem") is not True or own.get("allowPrivilegeEscalation") is not False:
        yield f"{where}: it may write to its root, or gain privileges"
    resources = container.get("resources", {})
    if "requests" not in resources or "memory" not in resources.get("limits", {}):
        yield f"{where}: no requests, or no limit of memory"
    if container["image"].endswith(":latest") or ":" not in container["image"]:
        yield f"{where}: its image has no version"


def _argument(container: Object, name: str) -> str | None:
    return next(
        (text.partition("=")[2] for text in container.get("args", []) if text.startswith(f"{name}=")), None
    )


def _reference_faults(objects: list[Object]) -> Iterator[str]:
    """Selectors that select nobody, and names of what is not there."""
    names = {(one["kind"], one["metadata"]["name"]) for one in objects}
    pods = [one["spec"]["template"] for one in objects if one["kind"] in PODS]
    for one in objects:
        spec = one.get("spec", {})
        for labels in _selectors(one):
            if not any(labels.items() <= pod["metadata"]["labels"].items() for pod in pods):
                yield f"{_name(one)}: selects no pod"
        if one["kind"] == "HorizontalPodAutoscaler":
            target = spec["scaleTargetRef"]
            if (target["kind"], target["name"]) not in names:
                yield f"{_name(one)}: scales {target['kind']} {target['name']}, which there is not"
        if one["kind"] == "StatefulSet" and ("Service", spec["serviceName"]) not in names:
            yield f"{_name(one)}: there is no Service {spec['serviceName']}"
        if one["kind"] in PODS:
            pod = spec["template"]["spec"]
            if ("ServiceAccount", pod.get("serviceAccountName")) not in names:
                yield f"{_name(one)}: there is no ServiceAccount {pod.get('serviceAccountName')}"
            for volume in pod.get("volumes", []):
                config = volume.get("configMap", {}).get("name")
                if config is not None and ("ConfigMap", config) not in names:
                    yield f"{_name(one)}: there is no ConfigMap {config}"
            yield from _mount_faults(one, spec, pod)


def _mount_faults(one: Object, spec: Object, pod: Object) -> Iterator[str]:
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    volumes |= {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f"{_name(one)}: there is no volume {mount['name']}"


def _selectors(one: Object) -> Iterator[dict[str, str]]:
    spec = one.get("spec", {})
    if one["kind"] == "Service":
        yield spec.get("selector", {})
    elif one["kind"] == "PodDisruptionBudget":
        yield spec["selector"]["matchLabels"]
    elif one["kind"] == "NetworkPolicy":
        yield spec["podSelector"]["matchLabels"]


def plain() -> str:
    """The manifests for whoever wants no Helm: the chart with its own values, for any namespace."""
    head = "# Made by `python tools/validate_deploy.py --write` from deploy/chart; change that instead.\n"
    return head + "".join(f"---\n{yaml.safe_dump(one, sort_keys=False)}" for one in rendered({}))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the plain manifests anew")
    if parser.parse_args(argv).write:
        MANIFESTS.write_text(plain(), encoding="utf-8")
    found = 0
    for path in (None, *values_files()):
        objects = rendered(yaml.safe_load(path.read_text(encoding="utf-8")) if path else {})
        faults = faults_of(objects)
        found += len(faults)
        print(f"{path.stem if path else 'default'}: {len(objects)} objects, {len(faults)} faults")
        for fault in faults:
            print(f"  {fault}")
    if MANIFESTS.read_text(encoding="utf-8") != plain():
        print(f"{MANIFESTS.relative_to(ROOT)} is not what the chart makes; run with --write")
        found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
