"""Whether an API server would take an object: its schema, and what the API checks of pods beyond that."""

import functools
import json
import re
from collections.abc import Iterator

import kubernetes_validate
import kubernetes_validate.utils

from harness.tools import CACHE, CRD, run

# What deploy/kubernetes/README.md promises.
OLDEST = "1.30"
ADMISSION = "1.36"

# It reads megabytes of definitions for each object.
kubernetes_validate.utils.schema_contents = functools.cache(
    kubernetes_validate.utils.schema_contents
)
NEWEST = kubernetes_validate.latest_version()
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9](-?[a-z0-9])*")


def validate(described: dict, oldest: str = OLDEST) -> None:
    """By the strict schemas, unknown keys included, of the oldest Kubernetes and of the newest."""
    for version in (oldest, NEWEST):
        kubernetes_validate.validate(described, version, strict=True)


def validate_custom(described: dict) -> None:
    """By the schema of a custom resource; see crd.mjs."""
    complaints = json.loads(
        run("node", CRD, CACHE / "crd", given=json.dumps(described))
    )
    assert not complaints, complaints


def check_pod(metadata: dict, spec: dict) -> None:
    """What no schema says, and an API server refuses or a kubelet waits for."""
    containers = spec.get("initContainers", []) + spec["containers"]
    unique([each["name"] for each in containers])
    volumes = [each["name"] for each in spec.get("volumes", [])]
    unique(volumes)
    unique([port["containerPort"] for each in containers for port in ports(each)])
    # Twice in one pod is allowed, but leaves it open which of them a Service means.
    unique([port["name"] for each in containers for port in ports(each)])
    for container in containers:
        assert container["image"], container["name"]
        for port in ports(container):
            assert len(port["name"]) <= 15 and PORT_NAME.fullmatch(port["name"]), port
        for mount in container.get("volumeMounts") or []:
            assert mount["name"] in volumes, mount
        sleep = ((container.get("lifecycle") or {}).get("preStop") or {}).get("sleep")
        grace = spec.get("terminationGracePeriodSeconds", 30)
        assert sleep is None or 0 < sleep["seconds"] <= grace, (sleep, grace)
    for item in downward(spec):
        key = re.fullmatch(
            r"metadata\.annotations\['(.+)'\]", item["fieldRef"]["fieldPath"]
        )
        assert key and metadata["annotations"][key[1]], item


def ports(container: dict) -> list[dict]:
    return container.get("ports") or []


def downward(spec: dict) -> Iterator[dict]:
    for volume in spec.get("volumes", []):
        yield from volume.get("downwardAPI", {}).get("items", [])


def unique(names: list) -> None:
    assert len(set(names)) == len(names), names


def numbers(described: object) -> Iterator[tuple[str, object]]:
    """Every reference to a port, in whatever object: names of them depend on containers."""
    if isinstance(described, list):
        for each in described:
            yield from numbers(each)
    elif isinstance(described, dict):
        for key, value in described.items():
            if key in ("targetPort", "port") and not isinstance(value, dict):
                yield key, value
            yield from numbers(value)
