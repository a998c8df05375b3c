"""Builds of the package."""

import os
import shutil
import subprocess
from pathlib import Path

from . import PROJECT

EPOCH = "1700000000"


def build(folder: Path, project: Path = PROJECT, **environment: str) -> Path:
    """Builds a package of the binary, pages and completions that are already there."""
    done = subprocess.run(
        [project / "deploy/debian/build", folder],
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH, **environment},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Path(done.stdout.strip())


def copy(folder: Path) -> Path:
    """What the build reads of the project, in another folder and with other dates."""
    for path in ["deploy", "CHANGELOG.md", "Cargo.toml", "LICENSE-MIT"]:
        if (PROJECT / path).is_dir():
            shutil.copytree(PROJECT / path, folder / path)
        else:
            shutil.copy(PROJECT / path, folder)
    shutil.copy(PROJECT / "config.example.toml", folder)
    for path in folder.rglob("*"):
        os.utime(path, (1, 1))
    return folder
