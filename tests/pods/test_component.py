"""deploy/kubernetes/component, put on workloads that were not written for it: it does what it says, or the build fails."""

import json
import os
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from harness import kustomize, podman, schema
from harness.kustomize import pod_spec, sidecar
from harness.pod import get
from harness.podman import PROJECT
from harness.tools import Refused
from harness.workloads import GRACE, LIFECYCLE, WORKLOADS_OF_OTHERS, Workload, config

COMPONENT = PROJECT / "deploy/kubernetes/component"

every = pytest.mark.parametrize(
    "workload", WORKLOADS_OF_OTHERS, ids=lambda each: each.name
)
starter = WORKLOADS_OF_OTHERS[0]


class Folder:
    """Two kustomizations: one that marks a workload, and one that adds the component."""

    def __init__(self, path: Path, objects: list[dict]) -> None:
        self.path = path
        self.objects = objects

    def mark(self, label: str, text: str | None, kinds=kustomize.WORKLOADS) -> None:
        for each in self.objects:
            if each["kind"] in kinds:
                each["metadata"].setdefault("labels", {})["sse-sidecar"] = label
                if text is not None:
                    template = each["spec"]["template"]["metadata"]
                    annotations = template.get("annotations") or {}
                    template["annotations"] = annotations
                    annotations["sse-sidecar/config"] = text

    def build(self) -> list[dict]:
        (self.path / "all.yaml").write_text(yaml.safe_dump_all(self.objects))
        written = {
            "resources": ["all.yaml"],
            "components": [os.path.relpath(COMPONENT, self.path)],
        }
        (self.path / "kustomization.yaml").write_text(yaml.safe_dump(written))
        return kustomize.build(self.path)


@pytest.fixture
def folder(tmp_path, workload: Workload) -> Folder:
    return Folder(tmp_path, workload.objects(tmp_path))


def without_the_sidecar(objects: list[dict]) -> list[dict]:
    """Everything that the component adds taken away again, but for preStop and grace period."""
    objects = deepcopy(objects)
    described = kustomize.only(objects, *kustomize.WORKLOADS)
    del described["metadata"]["labels"]["sse-sidecar"]
    template = described["spec"]["template"]
    del template["metadata"]["annotations"]["sse-sidecar/config"]
    spec = template["spec"]
    assert spec["containers"].pop()["name"] == "sse-sidecar", "it is the last one"
    added = [each for each in spec["volumes"] if each["name"] == "sse-sidecar"]
    assert len(added) == 1
    spec["volumes"].remove(added[0])
    return [emptied(each) for each in sorted(objects, key=str_of)]


def str_of(described: dict) -> str:
    return f"{described['kind']}/{described['metadata']['name']}"


def emptied(described: object) -> object:
    """Without what is null or empty, which says the same."""
    if isinstance(described, list):
        return [emptied(each) for each in described]
    if not isinstance(described, dict):
        return described
    kept = {key: emptied(value) for key, value in described.items()}
    return {key: value for key, value in kept.items() if value not in (None, {}, [])}


@every
def test_it_adds_its_container_and_changes_nothing_else(folder, workload):
    before = [emptied(each) for each in sorted(deepcopy(folder.objects), key=str_of)]
    folder.mark("container-only", config(workload.port))
    objects = folder.build()
    for described in objects:
        schema.validate(described)
    template = kustomize.template(objects)
    schema.check_pod(template["metadata"], template["spec"])
    assert without_the_sidecar(objects) == before


@every
def test_it_adds_a_drain_or_says_what_is_in_its_way(folder, workload):
    folder.mark("enabled", config(workload.port))
    if workload.in_the_way:
        first = workload.in_the_way[0]
        with pytest.raises(Refused, match=f"{first} failed: test failed"):
            folder.build()
        spec = pod_spec(folder.objects)
        for path in workload.in_the_way:
            if path == GRACE:
                del spec[GRACE]
            else:
                assert path == LIFECYCLE
                with pytest.raises(Refused, match=f"{LIFECYCLE} failed: test failed"):
                    folder.build()
                del spec["containers"][0]["lifecycle"]
    objects = folder.build()
    spec = pod_spec(objects)
    assert spec[GRACE] == 45
    assert spec["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 35}}}
    for described in objects:
        schema.validate(described)


@every
def test_without_a_configuration_it_is_refused(folder, workload):
    folder.mark("container-only", None)
    with pytest.raises(
        Refused, match="nonexistent key: sse-sidecar/config|annotations"
    ):
        folder.build()


@pytest.mark.parametrize("workload", [starter])
@pytest.mark.parametrize("label", ["true", "Enabled", "disabled"])
def test_a_label_that_would_do_nothing_is_refused(folder, label):
    folder.mark(label, config(1))
    with pytest.raises(Refused, match="labels/sse-sidecar failed: test failed"):
        folder.build()


@pytest.mark.parametrize("workload", [starter])
def test_a_label_on_the_service_is_refused(folder):
    folder.mark("enabled", None, kinds=["Service"])
    with pytest.raises(Refused, match="/kind failed: test failed"):
        folder.build()


@pytest.mark.parametrize("workload", [starter])
def test_a_label_on_a_job_is_refused(folder):
    [job] = [each for each in folder.objects if each["kind"] == "Deployment"]
    job.update(apiVersion="batch/v1", kind="Job")
    folder.mark("enabled", config(80), kinds=["Job"])
    with pytest.raises(Refused, match="/kind failed: test failed"):
        folder.build()


@pytest.mark.parametrize("workload", [starter])
def test_a_daemon_set_gets_it_too(folder):
    [described] = [each for each in folder.objects if each["kind"] == "Deployment"]
    described["kind"] = "DaemonSet"
    described["spec"].pop("replicas")
    folder.mark("enabled", config(80))
    objects = folder.build()
    schema.validate(kustomize.only(objects, "DaemonSet"))
    assert sidecar(pod_spec(objects))


@pytest.mark.parametrize("workload", [starter])
def test_what_has_no_label_is_left_alone(folder):
    assert kustomize.only(folder.build(), "Deployment") == kustomize.only(
        folder.objects, "Deployment"
    )


def test_the_example_is_somebody_elses_deployment_with_the_sidecar():
    objects = kustomize.shipped("example")
    spec = pod_spec(objects)
    assert [each["name"] for each in spec["containers"]] == ["chat", "sse-sidecar"]
    assert spec[GRACE] == 120
    image = sidecar(spec)["image"]
    assert image == "registry.example.com/team/sse-sidecar:0.1.0"
    service = kustomize.only(objects, "Service")
    targets = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
    assert targets == {"metrics": "metrics", "http": 9900}
    assert service["metadata"]["namespace"] == "prod"


def test_the_container_listens_where_its_ports_are(image, tmp_path):
    """As podman runs it: podman 4 has no downward API, so a folder takes the volume's place."""
    objects = kustomize.shipped("example")
    container = sidecar(pod_spec(objects))
    annotations = kustomize.template(objects)["metadata"]["annotations"]
    file = tmp_path / "config.toml"
    file.write_text(annotations["sse-sidecar/config"])
    # pytest's folders are their user's, but the image's user is another.
    tmp_path.chmod(0o755)
    file.chmod(0o644)
    env = [f"--env={each['name']}={each['value']}" for each in container["env"]]
    mount = f"--volume={tmp_path}:{container['volumeMounts'][0]['mountPath']}:ro"
    clients, admin = (port["containerPort"] for port in container["ports"])
    with podman.running(image, mount, *env) as name:
        address = podman.address(name)
        assert get(address, "/ready", admin).status == 200
        shown = json.loads(get(address, "/status.json", admin).read())
        assert 'timeout = "1m40s"' in shown["config"]
        answer = get(address, "/", clients)
        assert answer.status == 502, "the application is missing here"
