"""Packages, and a system to install them in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.backend import Backend
from harness.package import build, copy
from harness.system import System


@pytest.fixture(scope="session")
def package(tmp_path_factory) -> Path:
    """The package of this version."""
    return build(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def next_package(tmp_path_factory) -> Path:
    """One of a later version, with another configuration."""
    project = copy(tmp_path_factory.mktemp("project"))
    with (project / "deploy/debian/config.toml").open("a") as config:
        config.write('\n[log]\nlevel = "debug"\n')
    folder = tmp_path_factory.mktemp("next")
    return build(folder, project, SSE_SIDECAR_DEBIAN="99.0.0-1")


@pytest.fixture
def system(tmp_path) -> Iterator[System]:
    """A system without the package."""
    system = System(tmp_path / "root")
    try:
        yield system
    finally:
        system.manager.close()


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A backend where the installed configuration expects it."""
    backend = Backend()
    try:
        yield backend
    finally:
        backend.close()
