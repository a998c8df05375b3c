"""deploy/systemd: what systemd itself says of the unit."""

import re
import subprocess

import pytest

from harness.podman import PROJECT


@pytest.fixture
def unit(tmp_path) -> str:
    """The unit, with a program that is there."""
    shipped = (PROJECT / "deploy/systemd/sse-sidecar.service").read_text()
    unit = tmp_path / "sse-sidecar.service"
    unit.write_text(shipped.replace("/usr/local/bin/sse-sidecar", "/bin/true"))
    return str(unit)


def analyze(*arguments: str) -> subprocess.CompletedProcess:
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_it_is_valid(unit):
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_is_locked_up(unit):
    """The exposure that is left is the network, which it is there for."""
    done = analyze("security", "--offline=true", unit)
    exposure = float(re.search(r"Overall exposure level .*: (\d+\.\d)", done.stdout)[1])
    assert exposure <= 1.2, done.stdout
