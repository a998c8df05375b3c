"""The image by itself."""

import pytest

from harness import podman
from harness.pod import get
from harness.podman import running


def test_it_is_small(image):
    assert podman.inspect(image)["Size"] < 10_300_000


def test_it_runs_as_nobody_in_particular(image):
    assert podman.inspect(image)["Config"]["User"] == "65532:65532"


def test_its_health_check_works_without_a_shell(image):
    upstream = "--env=SSE_SIDECAR_UPSTREAM=http://127.0.0.1:1"
    with running(image, upstream) as container:
        podman.podman("healthcheck", "run", container)
        # The control: where nothing listens it says so.
        elsewhere = "--env=SSE_SIDECAR_ADMIN=127.0.0.1:9902"
        with pytest.raises(RuntimeError, match="nothing listens"):
            podman.podman("exec", elsewhere, container, "/sse-sidecar", "health")


def test_it_brings_the_certificates_that_https_upstreams_are_checked_by(image):
    upstream = "--env=SSE_SIDECAR_UPSTREAM=https://localhost"
    with running(image, upstream):
        pass
    # The control: without them it does not start.
    elsewhere = "--env=SSL_CERT_FILE=/nowhere"
    done = podman.run("run", "--rm", "--network=none", upstream, elsewhere, image)
    assert done.returncode == 2
    assert "no CA certificates" in done.stderr


def test_without_an_upstream_it_says_what_to_do(image):
    done = podman.run("run", "--rm", "--network=none", image)
    assert done.returncode == 2
    assert "--upstream http://" in done.stderr


def test_names_are_resolved_without_a_libc_beside_the_binary(image, pod):
    """The pod's own name, by the name server of its network."""
    upstream = f"--env=SSE_SIDECAR_UPSTREAM=http://{pod.name}:8080"
    with running(image, upstream, network=pod.network()) as container:
        answer = get(podman.address(container), "/seen")
        assert answer.status == 200, answer.read()
