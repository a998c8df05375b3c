"""What `kubectl kustomize` makes of a folder."""

import functools
from pathlib import Path

import yaml

from harness.tools import KUBECTL, run

WORKLOADS = ["Deployment", "StatefulSet", "DaemonSet"]


def build(folder: str | Path) -> list[dict]:
    """The objects, in the order in which they would be applied."""
    return list(yaml.safe_load_all(run(KUBECTL, "kustomize", folder)))


@functools.cache
def _text(folder: str) -> str:
    return run(KUBECTL, "kustomize", f"deploy/kubernetes/{folder}")


def shipped(folder: str) -> list[dict]:
    """Those of a folder of deploy/kubernetes, for the caller to change."""
    return list(yaml.safe_load_all(_text(folder)))


def only(objects: list[dict], *kinds: str) -> dict:
    """The one object of these kinds."""
    [found] = [each for each in objects if each["kind"] in kinds]
    return found


def template(objects: list[dict]) -> dict:
    return only(objects, *WORKLOADS)["spec"]["template"]


def pod_spec(objects: list[dict]) -> dict:
    return template(objects)["spec"]


def sidecar(spec: dict) -> dict:
    """The sidecar's container, whichever kind of container it is."""
    containers = spec.get("initContainers", []) + spec["containers"]
    [found] = [each for each in containers if each["name"] == "sse-sidecar"]
    return found
