"""Workloads of other people's charts, as Helm renders them; workloads/ has those that are not made on the spot."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from harness.kustomize import WORKLOADS
from harness.podman import PODS
from harness.tools import HELM, run


@dataclass(frozen=True)
class Workload:
    name: str
    port: int
    """Where the application listens."""

    in_the_way: tuple[str, ...] = ()
    """What the component must not overwrite."""

    def objects(self, scratch: Path) -> list[dict]:
        if self.name == "starter":
            # What `helm create` starts everybody's chart with.
            run(HELM, "create", scratch / "starter")
            text = run(HELM, "template", "release", scratch / "starter", "--skip-tests")
        else:
            text = (PODS / f"workloads/{self.name}.yaml").read_text()
        objects = [each for each in yaml.safe_load_all(text) if each]
        return [each for each in objects if each["kind"] in (*WORKLOADS, "Service")]


GRACE, LIFECYCLE = "terminationGracePeriodSeconds", "containers/0/lifecycle"

WORKLOADS_OF_OTHERS = [
    Workload("starter", 80),
    Workload("podinfo", 9898, (GRACE,)),
    Workload("ollama", 11434, (GRACE,)),
    Workload("n8n", 5678, (GRACE, LIFECYCLE)),
    # A StatefulSet with a preStop, a second container, and annotations that are null.
    Workload("nats", 8222, (GRACE, LIFECYCLE)),
]


def config(port: int) -> str:
    return f'[upstream]\nurl = "http://127.0.0.1:{port}"\n'
