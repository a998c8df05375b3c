"""kubectl, Helm and Node.js as install.sh puts them here; none of them asks a cluster."""

import os
import subprocess
from pathlib import Path

from harness.podman import PROJECT

CACHE = PROJECT / "tests/pods/.cache"
KUBECTL = CACHE / "layer/kubectl/kubectl"
HELM = CACHE / "layer/helm/helm"
CRD = PROJECT / "tests/pods/harness/crd.mjs"


class Refused(Exception):
    """What a tool said when it would not do it."""


def run(*command: str | Path, cwd: Path = PROJECT, given: str = "") -> str:
    """What it prints; its complaint is the error."""
    home = {name: str(CACHE / "helm") for name in HOMES}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **home, "KUBECONFIG": "/dev/null"},
        input=given,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Refused(done.stderr or done.stdout)
    return done.stdout


HOMES = ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"]
