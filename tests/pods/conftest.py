"""Images, and the pod of deploy/kubernetes/plain as podman runs it."""

from collections.abc import Iterator

import pytest

from harness import kustomize, podman
from harness.pod import Pod


@pytest.fixture(scope="session")
def image() -> str:
    """The image, made of the binary that is already built."""
    podman.build(
        "sse-sidecar", "docker/Dockerfile", ".", build="tests/pods/.cache/image"
    )
    return "localhost/sse-sidecar:test"


@pytest.fixture(scope="session")
def app() -> str:
    """The image of the application behind it."""
    podman.build("app", "tests/pods/app.Dockerfile", "tests/pods/.cache/app")
    return "localhost/app:test"


@pytest.fixture(scope="session")
def pod(image, app) -> Iterator[Pod]:
    """A pod that is up, as its startup probe says."""
    pod = Pod(kustomize.build("tests/pods/pod"))
    try:
        pod.wait_started()
        yield pod
    finally:
        pod.remove()
