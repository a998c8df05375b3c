"""A pod that podman runs, and a kubelet's part in it that podman leaves out."""

import http.client
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from harness import kustomize, podman
from harness.podman import PODS

FOLDER = PODS / ".cache/play"

CLIENTS = 8080
RELOADED = "configuration reloaded"
CONFIG = Path("/etc/sse-sidecar/config.toml")


class Answer:
    """A response on a connection of its own, which closes with it."""

    def __init__(
        self, address: str, target: str, port: int, headers: dict[str, str]
    ) -> None:
        self._connection = http.client.HTTPConnection(address, port, timeout=10)
        self._connection.request("GET", target, headers=headers)
        response = self._connection.getresponse()
        self.status, self.headers = response.status, response.headers
        self.read, self.readline = response.read, response.readline
        self._response = response

    def leave(self) -> None:
        self._response.close()
        self._connection.close()


def get(address: str, target: str, port: int = CLIENTS, **headers: str) -> Answer:
    """Asks for `target`; the headers' names have `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(address, target, port, named)


class Pod:
    """The Deployment among these objects, played as one pod."""

    def __init__(self, objects: list[dict]) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        self._manifest = FOLDER / "pod.yaml"
        self._manifest.write_text(yaml.safe_dump_all(objects))
        self.remove()
        podman.podman("kube", "play", str(self._manifest))
        name = kustomize.only(objects, "Deployment")["metadata"]["name"]
        self.name = f"{name}-pod-0"
        self.sidecar = f"{self.name}-sse-sidecar"
        self._infra = podman.podman(
            *["pod", "inspect", "--format={{.InfraContainerID}}", self.name]
        )
        self.address = podman.address(self._infra)
        # podman 4 can only ask probes with a program inside the image: see pod/.
        spec = kustomize.pod_spec(kustomize.shipped("plain"))
        self._described = kustomize.sidecar(spec)

    def get(self, target: str, port: int = CLIENTS, **headers: str) -> Answer:
        return get(self.address, target, port, **headers)

    def probe(self, kind: str) -> bool:
        """Asks what a kubelet would, of the address that it would ask."""
        asked = self._described[kind]["httpGet"]
        try:
            return 200 <= self.get(asked["path"], asked["port"]).status < 400
        except OSError:
            return False

    def wait_started(self) -> None:
        probe = self._described["startupProbe"]
        for _ in range(probe["failureThreshold"]):
            if self.probe("startupProbe"):
                return
            time.sleep(probe["periodSeconds"])
        raise TimeoutError(f"the pod does not start:\n{self.log()}")

    def network(self) -> str:
        """Where the pod's name is known."""
        [name] = podman.inspect(self._infra)["NetworkSettings"]["Networks"]
        return name

    def change_config(self, change: Callable[[str], str]) -> None:
        """Changes the sidecar's file in its ConfigMap's volume, which podman only fills
        when the pod begins, and waits until that is taken up."""
        reloads = self.log().count(RELOADED)
        mounts = podman.inspect(self.sidecar)["Mounts"]
        [folder] = [
            mount["Source"]
            for mount in mounts
            if mount["Destination"] == str(CONFIG.parent)
        ]
        file = Path(folder) / CONFIG.name
        new = file.with_name("..new")
        new.write_text(change(file.read_text()))
        new.chmod(0o644)
        new.rename(file)
        deadline = time.monotonic() + 10
        while self.log().count(RELOADED) == reloads:
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def log(self) -> str:
        return podman.log(self.sidecar)

    def process(self) -> Path:
        """Where the kernel describes the sidecar's process."""
        return Path("/proc", str(podman.inspect(self.sidecar)["State"]["Pid"]))

    def remove(self) -> None:
        podman.podman("pod", "rm", "--force", "--all", "--time=0")
