"""deploy/kubernetes/helm: the library chart, as the example chart includes it, rendered by Helm itself."""

import os
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from harness import kustomize, schema
from harness.kustomize import pod_spec, sidecar, template
from harness.podman import PROJECT
from harness.tools import HELM, Refused, run


@pytest.fixture(scope="module")
def charts(tmp_path_factory) -> Path:
    """A copy, as Helm packs the library into the chart that names it."""
    charts = tmp_path_factory.mktemp("charts") / "helm"
    shutil.copytree(PROJECT / "deploy/kubernetes/helm", charts)
    run(HELM, "dependency", "update", charts / "example")
    return charts


@pytest.fixture
def render(charts):
    def render(*values: str) -> list[dict]:
        options = [option for value in values for option in ("--set-json", value)]
        text = run(HELM, "template", "chat", charts / "example", *options)
        return list(yaml.safe_load_all(text))

    return render


def test_the_charts_pass_helms_own_check(charts):
    run(HELM, "lint", "--strict", charts / "sse-sidecar", charts / "example")


def test_each_object_is_valid(render):
    objects = render()
    for described in objects:
        schema.validate(described)
    schema.check_pod(template(objects)["metadata"], pod_spec(objects))


def test_the_sidecar_is_that_of_the_component(render):
    found = deepcopy(sidecar(pod_spec(render())))
    assert found.pop("imagePullPolicy") == "IfNotPresent"
    expected = sidecar(pod_spec(kustomize.shipped("example")))
    expected["image"] = "registry.example.com/sse-sidecar:0.1.0"
    assert found == expected


def test_the_service_leads_to_the_sidecar_wherever_it_listens(render):
    objects = render("sse-sidecar.port=9000", "sse-sidecar.adminPort=9001")
    [port] = kustomize.only(objects, "Service")["spec"]["ports"]
    container = sidecar(pod_spec(objects))
    assert port["targetPort"] == 9000
    assert [each["containerPort"] for each in container["ports"]] == [9000, 9001]
    assert [each["value"] for each in container["env"]] == [
        "0.0.0.0:9000",
        "0.0.0.0:9001",
    ]
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
        assert container[probe]["httpGet"]["port"] == 9001


@pytest.mark.parametrize(
    ("values", "sleep", "grace"),
    [
        ([], 35, 45),
        (["terminationGracePeriodSeconds=120"], 35, 120),
        (["sse-sidecar.drain.timeoutSeconds=300"], 305, 315),
        (["sse-sidecar.drain.delaySeconds=0"], 30, 40),
    ],
)
def test_hook_and_grace_period_fit_the_drain(render, values, sleep, grace):
    objects = render(*values)
    spec = pod_spec(objects)
    app = spec["containers"][0]
    assert app["lifecycle"] == {"preStop": {"sleep": {"seconds": sleep}}}
    assert spec["terminationGracePeriodSeconds"] == grace


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["sse-sidecar.drain.delaySeconds=0", "sse-sidecar.drain.timeoutSeconds=20"],
        [r'sse-sidecar.config="[server]\ntrusted_proxies = [\"10.0.0.0/8\"]\n"'],
    ],
)
def test_the_configuration_is_fine(render, values, tmp_path):
    annotations = template(render(*values))["metadata"]["annotations"]
    file = tmp_path / "config.toml"
    file.write_text(annotations["sse-sidecar/config"])
    command = [os.environ["SSE_SIDECAR_BIN"], "check", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, "warning" in done.stderr) == (0, False), done.stderr
    if "trusted" in "".join(values):
        assert "trusted_proxies" in file.read_text()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ('sse-sidecar.image.repository=""', "set sse-sidecar.image.repository"),
        ('sse-sidecar.upstream=""', "set sse-sidecar.upstream"),
        ("sse-sidecar.drain.timeoutSecond=9", "'timeoutSecond' not allowed"),
        ("sse-sidecar.prot=9000", "'prot' not allowed"),
        (
            r'sse-sidecar.config="[drain]\ntimeout = \"9s\""',
            "come from sse-sidecar.upstream",
        ),
        (r'sse-sidecar.config="[[listener]]\n"', "ports come from sse-sidecar.port"),
    ],
)
def test_a_mistake_is_refused(render, value, says):
    with pytest.raises(Refused, match=says):
        render(value)
