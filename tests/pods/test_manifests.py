"""deploy/kubernetes: what Kustomize makes of it is valid, safe, and fits the sidecar.

Only `plain` is run (test_pod.py): podman 4 knows no native sidecars.
"""

import os
import subprocess
from copy import deepcopy

import kubernetes_validate
import pytest
import yaml

from harness import kustomize
from harness.podman import PROJECT

FOLDERS = ["plain", "native", "example", "tls"]
every = pytest.mark.parametrize("folder", FOLDERS)


def build(folder: str) -> list[dict]:
    return kustomize.build(f"deploy/kubernetes/{folder}")


def spec(folder: str) -> dict:
    return kustomize.pod_spec(build(folder))


def validate(described: dict) -> None:
    newest = kubernetes_validate.latest_version()
    kubernetes_validate.validate(described, newest, strict=True)


@every
def test_each_object_is_valid(folder):
    for described in build(folder):
        validate(described)


def test_the_network_policy_is_valid():
    validate(
        yaml.safe_load((PROJECT / "deploy/kubernetes/network-policy.yaml").read_text())
    )


def test_a_misspelt_key_would_be_found():
    """The control."""
    deployment = kustomize.only(build("plain"), "Deployment")
    [app, _] = deployment["spec"]["template"]["spec"]["containers"]
    hook = app["lifecycle"]["preStop"]
    hook["slep"] = hook.pop("sleep")
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(deployment)


@every
def test_the_configuration_is_fine(folder, tmp_path):
    config = tmp_path / "config.toml"
    text = kustomize.only(build(folder), "ConfigMap")["data"]["config.toml"]
    for name in ["tls.crt", "tls.key"]:
        text = text.replace(f"/etc/sse-sidecar-tls/{name}", str(tmp_path / name))
    config.write_text(text)
    certificate = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=t".split()
    files = ["-keyout", str(tmp_path / "tls.key"), "-out", str(tmp_path / "tls.crt")]
    subprocess.run([*certificate, *files], check=True, capture_output=True)
    command = [os.environ["SSE_SIDECAR_BIN"], "check", "--config", str(config)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, done.stderr


@every
def test_the_pods_mount_the_configuration_by_its_hash(folder):
    objects = build(folder)
    name = kustomize.only(objects, "ConfigMap")["metadata"]["name"]
    assert name.startswith("sse-sidecar-"), "a changed file has another name"
    volumes = kustomize.pod_spec(objects)["volumes"]
    assert {"name": "sse-sidecar", "configMap": {"name": name}} in volumes


@every
def test_the_service_leads_to_the_sidecar(folder):
    objects = build(folder)
    [port] = kustomize.only(objects, "Service")["spec"]["ports"]
    ports = kustomize.sidecar(kustomize.pod_spec(objects))["ports"]
    assert {"name": port["targetPort"], "containerPort": 8080} in ports


@every
def test_the_sidecar_is_the_same_everywhere(folder):
    """But for what makes it a native one, and for the certificate's volume."""
    expected = kustomize.sidecar(spec("plain"))
    found = deepcopy(kustomize.sidecar(spec(folder)))
    if folder == "native":
        assert found.pop("restartPolicy") == "Always"
    if folder == "tls":
        mount = {"name": "tls", "mountPath": "/etc/sse-sidecar-tls", "readOnly": True}
        found["volumeMounts"].remove(mount)
    assert found == expected


@pytest.mark.parametrize("folder", ["plain", "native", "tls"])
def test_all_containers_keep_to_the_restricted_standard(folder):
    described = spec(folder)
    for container in described.get("initContainers", []) + described["containers"]:
        security = container["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] > 0
        assert security["readOnlyRootFilesystem"]
        assert not security["allowPrivilegeEscalation"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("folder", ["plain", "example", "tls"])
def test_the_grace_period_is_long_enough_for_the_drain(folder):
    """The application is held back as long as the sidecar drains, and then has time."""
    objects = build(folder)
    text = kustomize.only(objects, "ConfigMap")["data"]["config.toml"]
    assert 'delay = "5s"\ntimeout = "30s"\n' in text
    described = kustomize.pod_spec(objects)
    [app] = [each for each in described["containers"] if each["name"] != "sse-sidecar"]
    assert app["lifecycle"]["preStop"]["sleep"]["seconds"] == 35
    assert described["terminationGracePeriodSeconds"] == 45
