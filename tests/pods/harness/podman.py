"""podman, and what it says of a container."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PODS = Path(__file__).parents[1]
PROJECT = PODS.parents[1]

LOCKED_UP = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]


def run(*arguments: str) -> subprocess.CompletedProcess:
    """Runs podman, whatever comes of it."""
    command = [str(PODS / "podman"), *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)


def podman(*arguments: str) -> str:
    """Runs podman; what it complains of is the error."""
    done = run(*arguments)
    if done.returncode:
        raise RuntimeError(
            f"podman {' '.join(arguments)}: {done.stderr or done.stdout}"
        )
    return done.stdout.strip()


def build(name: str, dockerfile: str, context: str, **contexts: str) -> None:
    """Builds an image; the folders in `contexts` take the place of stages."""
    folders = [
        f"--build-context={stage}={folder}" for stage, folder in contexts.items()
    ]
    podman(
        *["build", "--quiet", "--layers=false", "--isolation=chroot"],
        # The other format has no health checks.
        "--format=docker",
        *folders,
        *[f"--tag=localhost/{name}:test", f"--file={dockerfile}", context],
    )
    # Those that had the name before.
    podman("image", "prune", "--force")


def log(name: str) -> str:
    """What a container has written so far, which the sidecar does to standard error."""
    return run("logs", name).stderr


def inspect(name: str) -> dict:
    """Everything about a container, or an image."""
    [described] = json.loads(podman("inspect", name))
    return described


def address(name: str) -> str:
    """A container's, or that of its pod."""
    [network] = inspect(name)["NetworkSettings"]["Networks"].values()
    return network["IPAddress"]


@contextmanager
def running(image: str, *options: str, network: str = "podman") -> Iterator[str]:
    """A container of the sidecar's image, ready to be asked; its name."""
    started = podman(
        *["run", "--detach", f"--network={network}", *LOCKED_UP, *options, image]
    )
    try:
        deadline = time.monotonic() + 10
        while '"listening"' not in log(started):
            assert time.monotonic() < deadline, log(started)
            time.sleep(0.05)
        yield started
    finally:
        podman("rm", "--force", "--time=0", started)
