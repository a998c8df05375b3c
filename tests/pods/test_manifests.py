"""deploy/kubernetes: what Kustomize makes of it is valid, safe, and fits the sidecar.

Only `plain` is run (test_pod.py): podman 4 knows no native sidecars.
"""

import os
import re
import subprocess
from copy import deepcopy

import kubernetes_validate
import pytest

from harness import kustomize, schema
from harness.kustomize import shipped
from harness.podman import PROJECT

FOLDERS = ["plain", "native", "example", "tls"]
every = pytest.mark.parametrize("folder", FOLDERS)


def spec(folder: str) -> dict:
    return kustomize.pod_spec(shipped(folder))


def config(folder: str) -> str:
    """From the ConfigMap, or from the annotation where there is none."""
    objects = shipped(folder)
    for each in objects:
        if each["kind"] == "ConfigMap":
            return each["data"]["config.toml"]
    return kustomize.template(objects)["metadata"]["annotations"]["sse-sidecar/config"]


@every
def test_each_object_is_valid(folder):
    """By the oldest version that the README names, and by the newest."""
    objects = shipped(folder)
    for described in objects:
        schema.validate(described)
    template = kustomize.template(objects)
    schema.check_pod(template["metadata"], template["spec"])


def test_the_readme_names_the_version_that_they_are_checked_by():
    readme = (PROJECT / "deploy/kubernetes/README.md").read_text()
    named = set(re.findall(r"Kubernetes (\d\.\d+)", readme))
    assert named == {schema.OLDEST, schema.ADMISSION}


def test_the_image_is_of_this_version_everywhere():
    cargo = (PROJECT / "Cargo.toml").read_text()
    [version] = re.findall(r'(?m)^version = "(.+)"', cargo)
    places = 0
    for path in (PROJECT / "deploy/kubernetes").rglob("*.yaml"):
        text = path.read_text()
        found = re.findall(r"/sse-sidecar:([\w.]+)", text)
        found += re.findall(r"newName: \S+/sse-sidecar\n\s+newTag: (\S+)", text)
        if "helm/sse-sidecar" in str(path):
            found += re.findall(r"(?m)^(?:  tag|version|appVersion): (\S+)", text)
        assert set(found) <= {version}, path
        places += len(found)
    assert places == 8, (
        "plain, native, example, component, injection, and the chart's three"
    )


def test_a_misspelt_key_would_be_found():
    """The control."""
    deployment = kustomize.only(shipped("plain"), "Deployment")
    [app, _] = deployment["spec"]["template"]["spec"]["containers"]
    hook = app["lifecycle"]["preStop"]
    hook["slep"] = hook.pop("sleep")
    with pytest.raises(kubernetes_validate.ValidationError):
        schema.validate(deployment)


def test_an_older_kubernetes_would_be_found():
    """The control: `preStop.sleep` is what takes 1.30; its first schema is that of 1.29."""
    deployment = kustomize.only(shipped("plain"), "Deployment")
    with pytest.raises(kubernetes_validate.ValidationError):
        schema.validate(deployment, oldest="1.28")


@every
@pytest.mark.parametrize("behind_an_ingress", [False, True])
def test_the_configuration_is_fine(folder, behind_an_ingress, tmp_path):
    file = tmp_path / "config.toml"
    text = config(folder)
    if behind_an_ingress:
        text, found = re.subn("(?m)^# (trusted_proxies = )", r"\1", text)
        assert found == 1
    for name in ["tls.crt", "tls.key"]:
        text = text.replace(f"/etc/sse-sidecar-tls/{name}", str(tmp_path / name))
    file.write_text(text)
    certificate = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=t".split()
    files = ["-keyout", str(tmp_path / "tls.key"), "-out", str(tmp_path / "tls.crt")]
    subprocess.run([*certificate, *files], check=True, capture_output=True)
    command = [os.environ["SSE_SIDECAR_BIN"], "check", "--config", str(file)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # The command cannot know the grace period; the test of it is below.
    expected = 1 if folder == "example" else 0
    assert done.stderr.count("warning") == expected, done.stderr


@pytest.mark.parametrize("folder", ["plain", "native", "tls"])
def test_the_pods_mount_the_configuration_by_its_hash(folder):
    objects = shipped(folder)
    name = kustomize.only(objects, "ConfigMap")["metadata"]["name"]
    assert name.startswith("sse-sidecar-"), "a changed file has another name"
    volumes = kustomize.pod_spec(objects)["volumes"]
    assert {"name": "sse-sidecar", "configMap": {"name": name}} in volumes


@every
def test_the_service_leads_to_the_sidecar(folder):
    """By number: Services find no named port of an init container before 1.33."""
    objects = shipped(folder)
    port = kustomize.only(objects, "Service")["spec"]["ports"][-1]
    clients = kustomize.sidecar(kustomize.pod_spec(objects))["ports"][0]
    assert clients["name"] == "sse-sidecar"
    assert port["targetPort"] == clients["containerPort"]


@pytest.mark.parametrize("folder", ["plain", "native", "tls"])
def test_ports_are_referred_to_by_number(folder):
    found = list(schema.numbers(shipped(folder)))
    assert len(found) >= 5, found
    assert all(isinstance(port, int) for _, port in found), found


@every
def test_the_sidecar_is_the_same_everywhere(folder):
    """But for what makes it a native one, for the certificate's volume, and for where the
    component listens."""
    expected = kustomize.sidecar(spec("plain"))
    found = deepcopy(kustomize.sidecar(spec(folder)))
    if folder == "native":
        assert found.pop("restartPolicy") == "Always"
    if folder == "tls":
        mount = {"name": "tls", "mountPath": "/etc/sse-sidecar-tls", "readOnly": True}
        found["volumeMounts"].remove(mount)
    if folder == "example":
        env = {each["name"]: each["value"] for each in found.pop("env")}
        ports = {each["name"]: each["containerPort"] for each in found["ports"]}
        assert env["SSE_SIDECAR_LISTEN"] == f"0.0.0.0:{ports['sse-sidecar']}"
        assert env["SSE_SIDECAR_ADMIN"] == f"0.0.0.0:{ports['sse-admin']}"
        found["ports"][0]["containerPort"] = 8080
        found["image"] = found["image"].replace("/team/", "/")
    assert found == expected
    assert found["readinessProbe"]["failureThreshold"] == 3


@pytest.mark.parametrize("folder", ["plain", "native", "tls"])
def test_objects_and_pods_have_the_recommended_labels(folder):
    objects = [each for each in shipped(folder) if each["kind"] != "ConfigMap"]
    objects.append(kustomize.template(objects))
    for each in objects:
        labels = each["metadata"]["labels"]
        for name in ["name", "instance", "version", "component"]:
            assert f"app.kubernetes.io/{name}" in labels, each


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
    drain = re.search(r'delay = "(\d+)s"\ntimeout = "(\d+)s"\n', config(folder))
    seconds = sum(int(each) for each in drain.groups())
    described = spec(folder)
    [app] = [each for each in described["containers"] if each["name"] != "sse-sidecar"]
    assert app["lifecycle"]["preStop"]["sleep"]["seconds"] == seconds
    assert described["terminationGracePeriodSeconds"] >= seconds + 10
