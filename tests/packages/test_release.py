"""deploy/release: the archive, the image, the SBOM and the checksums."""

import json
import os
import subprocess
import tarfile
import tomllib
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from harness import PROJECT
from harness.package import EPOCH

VERSION = tomllib.loads((PROJECT / "Cargo.toml").read_text())["package"]["version"]


def release(folder: Path) -> Path:
    """A release in the folder."""
    environment = {
        "SOURCE_DATE_EPOCH": EPOCH,
        "PODMAN": str(PROJECT / "tests/pods/podman"),
    }
    command = [PROJECT / "deploy/release", folder]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def released(tmp_path_factory) -> Path:
    """What is released of the binary under test."""
    return release(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="session")
def sbom(released) -> dict:
    """Its SBOM."""
    return json.loads((released / f"sse-sidecar-{VERSION}.cdx.json").read_text())


def one(folder: Path, pattern: str) -> Path:
    [path] = folder.glob(pattern)
    return path


def test_the_checksums_are_those_of_all_files(released):
    listed = (released / "SHA256SUMS").read_text()
    names = {line.split()[1] for line in listed.splitlines()}
    assert names == {path.name for path in released.iterdir()} - {"SHA256SUMS"}
    assert len(names) == 4
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(check, cwd=released, capture_output=True).returncode == 0


def manifest(released: Path) -> dict:
    """The image's, as it is saved."""
    with tarfile.open(one(released, "*-image-*.tar.gz")) as archive:
        [image] = json.load(archive.extractfile("manifest.json"))
    return image


def test_a_second_release_is_the_same_bytes(released, tmp_path):
    """But for the image's description, into which podman writes random names."""
    again = release(tmp_path / "again")
    for path in released.iterdir():
        if path.name != "SHA256SUMS" and "-image-" not in path.name:
            assert (again / path.name).read_bytes() == path.read_bytes(), path.name
    # Named by its SHA-256.
    assert manifest(again)["Layers"] == manifest(released)["Layers"]


def test_the_archive_has_a_binary_that_runs_and_what_belongs_to_it(released, tmp_path):
    with tarfile.open(one(released, "*-linux.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="tar")
        assert {member.mtime for member in archive} == {int(EPOCH)}
        assert {member.uid for member in archive} == {0}
    folder = one(tmp_path, f"sse-sidecar-{VERSION}-*-linux")
    shown = subprocess.run([folder / "sse-sidecar", "--version"], capture_output=True)
    assert shown.stdout.decode() == f"sse-sidecar {VERSION}\n"
    files = {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    }
    assert files >= {"LICENSE-MIT", "LICENSE-APACHE", "config.example.toml"}
    assert files >= {"sse-sidecar.service", "man/sse-sidecar.1"}
    assert files >= {f"completions/{name}" for name in ["_sse-sidecar", "sse-sidecar.bash"]}


def test_the_image_is_one_that_can_be_loaded(released):
    with tarfile.open(one(released, "*-image-*.tar.gz")) as archive:
        [image] = json.load(archive.extractfile("manifest.json"))
        config = json.load(archive.extractfile(image["Config"]))
    assert image["RepoTags"] == [f"localhost/sse-sidecar:{VERSION}"]
    assert config["config"]["Entrypoint"] == ["/sse-sidecar"]
    assert config["config"]["Healthcheck"]["Test"] == ["CMD", "/sse-sidecar", "health"]


def test_the_sbom_is_valid(sbom):
    validator = JsonStrictValidator(SchemaVersion.V1_5)
    assert validator.validate_str(json.dumps(sbom)) is None
    # And the validator finds what is wrong.
    broken = {**sbom, "components": [{"type": "library"}]}
    assert validator.validate_str(json.dumps(broken)) is not None


def test_the_sbom_has_what_is_linked_and_no_more(sbom):
    scopes = {component["name"]: component["scope"] for component in sbom["components"]}
    manifest = tomllib.loads((PROJECT / "Cargo.toml").read_text())
    for name in [*manifest["dependencies"], "glibc", "rust-std", "zstd-sys"]:
        assert scopes.get(name) == "required", name
    assert scopes["cc"] == scopes["syn"] == "excluded", "they only build it"
    for name in ["proptest", "rcgen", "clap_mangen", "clap_complete"]:
        assert name not in scopes, "only tests and generators use it"
    lock = tomllib.loads((PROJECT / "Cargo.lock").read_text())
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in lock["package"]}
    crates = [c for c in sbom["components"] if c["purl"].startswith("pkg:cargo/")]
    for crate in crates:
        [checksum] = crate["hashes"]
        assert checksum["content"] == checksums[crate["name"], crate["version"]]
        assert crate["licenses"][0]["expression"]


def test_every_reference_in_the_sbom_leads_somewhere(sbom):
    components = [*sbom["components"], sbom["metadata"]["component"]]
    known = {component["bom-ref"] for component in components}
    assert {entry["ref"] for entry in sbom["dependencies"]} == known
    for entry in sbom["dependencies"]:
        assert set(entry["dependsOn"]) <= known


def test_a_release_does_not_mix_with_another(tmp_path):
    (tmp_path / "old").touch()
    command = [PROJECT / "deploy/release", tmp_path]
    environment = {**os.environ, "PODMAN": "off"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{tmp_path} is not empty" in done.stderr
