"""deploy/kubernetes/injection: what its policies make of pods, on workloads that were not written for them.

No API server can be had from a package registry, so their CEL is evaluated here: see harness/policy.py for what that leaves out.
"""

from copy import deepcopy

import pytest

from harness import kustomize, schema
from harness.kustomize import sidecar
from harness.policy import Policy, as_maps, plain
from harness.workloads import WORKLOADS_OF_OTHERS, config

KINDS = ["MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"]
every = pytest.mark.parametrize(
    "workload", WORKLOADS_OF_OTHERS, ids=lambda each: each.name
)


@pytest.fixture(scope="module")
def policies() -> tuple[Policy, Policy]:
    """The one that adds the sidecar, and the one that refuses."""
    objects = kustomize.shipped("injection")
    mutating, validating = (Policy(kustomize.only(objects, kind)) for kind in KINDS)
    return mutating, validating


def pod_of(template: dict) -> dict:
    """With the label and the annotation, and with what an API server has added before it asks policies."""
    pod = {"apiVersion": "v1", "kind": "Pod", **deepcopy(template)}
    metadata = pod["metadata"]
    metadata["name"] = "pod"
    metadata["labels"]["sse-sidecar"] = "enabled"
    annotations = metadata.get("annotations") or {}
    metadata["annotations"] = {**annotations, "sse-sidecar/config": config(3000)}
    pod["spec"].setdefault("restartPolicy", "Always")
    pod["spec"].setdefault("terminationGracePeriodSeconds", 30)
    return pod


@pytest.fixture
def pod(workload, tmp_path) -> dict:
    return pod_of(kustomize.template(workload.objects(tmp_path)))


@pytest.fixture
def small() -> dict:
    """A pod without anything that a sidecar could build on."""
    containers = [{"name": "app", "image": "app"}]
    return pod_of({"metadata": {"labels": {}}, "spec": {"containers": containers}})


def test_each_object_is_valid():
    objects = kustomize.shipped("injection")
    assert {each["kind"] for each in objects} == {
        *KINDS,
        *(f"{kind}Binding" for kind in KINDS),
    }
    for described in objects:
        schema.validate(described, oldest=schema.ADMISSION)
        if described["kind"].endswith("Binding"):
            kind = described["kind"].removesuffix("Binding")
            bound = kustomize.only(objects, kind)["metadata"]["name"]
            assert described["spec"]["policyName"] == bound


@every
def test_a_labelled_pod_gets_the_sidecar_of_the_component(policies, pod):
    mutating, validating = policies
    changed = mutating.mutate(pod)
    schema.validate(changed)
    schema.check_pod(changed["metadata"], changed["spec"])
    assert validating.refusals(changed) == []
    found = deepcopy(sidecar(changed["spec"]))
    for port in found["ports"]:
        assert port.pop("protocol") == "TCP"
    expected = sidecar(kustomize.pod_spec(kustomize.shipped("example")))
    expected["image"] = "registry.example.com/sse-sidecar:0.1.0"
    assert found == expected


@every
def test_hooks_and_grace_periods_that_are_there_stay(policies, pod):
    changed = policies[0].mutate(pod)["spec"]
    before = pod["spec"]
    grace = before["terminationGracePeriodSeconds"]
    assert changed["terminationGracePeriodSeconds"] == max(grace, 45)
    *containers, added = changed["containers"]
    assert added["name"] == "sse-sidecar" and "lifecycle" not in added
    for container, now in zip(before["containers"], containers, strict=True):
        assert container["name"] == now["name"]
        hook = (container.get("lifecycle") or {}).get("preStop")
        assert now["lifecycle"]["preStop"] == (hook or {"sleep": {"seconds": 35}})


@every
def test_nothing_else_changes(policies, pod):
    changed = policies[0].mutate(deepcopy(pod))
    assert changed["metadata"] == pod["metadata"]
    spec = changed["spec"]
    assert spec["containers"].pop()["name"] == "sse-sidecar"
    assert spec["volumes"].pop()["name"] == "sse-sidecar"
    for each in (spec, pod["spec"]):
        each.pop("terminationGracePeriodSeconds")
        if not each.get("volumes"):
            each.pop("volumes", None)
        for container in each["containers"]:
            container.pop("lifecycle", None)
    # kubectl leaves out what is null.
    assert without_null(spec) == without_null(pod["spec"])


def without_null(described: object) -> object:
    if isinstance(described, list):
        return [without_null(each) for each in described]
    if not isinstance(described, dict):
        return described
    items = described.items()
    return {key: without_null(value) for key, value in items if value is not None}


def test_a_longer_drain_has_a_longer_hook_and_grace_period(policies, small):
    small["metadata"]["annotations"]["sse-sidecar/drain-seconds"] = "305"
    spec = policies[0].mutate(small)["spec"]
    assert spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] == 305
    assert spec["terminationGracePeriodSeconds"] == 315


def test_a_pod_that_has_the_sidecar_is_left_alone(policies, small):
    changed = policies[0].mutate(small)
    assert policies[0].mutate(changed) == changed


def test_a_pod_without_the_label_is_nobodys_business(policies, small):
    del small["metadata"]["labels"]["sse-sidecar"]
    small["metadata"]["annotations"].clear()
    mutating, validating = policies
    assert mutating.mutate(small) == small
    assert validating.refusals(small) == []


def change_label(pod: dict) -> None:
    pod["metadata"]["labels"]["sse-sidecar"] = "true"


def drop_annotation(pod: dict) -> None:
    del pod["metadata"]["annotations"]


def make_a_job(pod: dict) -> None:
    pod["spec"]["restartPolicy"] = "OnFailure"


def take_port(pod: dict) -> None:
    pod["spec"]["containers"][0]["ports"] = [{"containerPort": 9900}]


def take_name(pod: dict) -> None:
    port = {"containerPort": 1234, "name": "sse-admin"}
    pod["spec"]["containers"][0]["ports"] = [port]


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (change_label, "one value"),
        (drop_annotation, "lacks the annotation sse-sidecar/config"),
        (make_a_job, "native"),
        (take_port, "port 9900 or 9901"),
        (take_name, "named sse-sidecar or sse-admin"),
    ],
)
def test_a_pod_in_which_it_could_not_work_is_refused(policies, small, mistake, says):
    mistake(small)
    mutating, validating = policies
    [refusal] = validating.refusals(mutating.mutate(small))
    assert says in refusal


def test_a_value_of_the_wrong_type_would_be_found():
    """The control of harness/policy.py itself."""
    written = as_maps(
        'Object{spec: Object.spec{a: {"b": x ? y : z}, c: [Object.spec.c{}]}}'
    )
    assert written == (
        '{"@type": "Object", "spec": {"@type": "Object.spec", "a": {"b": x ? y : z}, "c": [{"@type": "Object.spec.c", }]}}'
    )
    misplaced = {"@type": "Object", "spec": {"@type": "Object.sepc"}}
    with pytest.raises(AssertionError, match="Object.sepc at Object.spec"):
        plain(misplaced, "Object")
