"""What is in the package, and that a build can be repeated."""

import os
import subprocess
from pathlib import Path

from harness import PROJECT
from harness.package import EPOCH, build, copy


def contents(package) -> str:
    listing = ["dpkg-deb", "--contents", str(package)]
    return subprocess.run(listing, check=True, capture_output=True, text=True).stdout


def read(package, path: str) -> str:
    """A file of the package."""
    archive = ["dpkg-deb", "--fsys-tarfile", str(package)]
    tar = subprocess.run(archive, check=True, capture_output=True).stdout
    extract = ["tar", "--extract", "--to-stdout", f"./{path}"]
    return subprocess.run(extract, input=tar, check=True, capture_output=True).stdout.decode()


def test_two_builds_are_the_same_bytes(package, tmp_path):
    """In another folder, another time zone and language, with another umask, and from files with other dates."""
    project = tmp_path / "project"
    project.mkdir()
    old = os.umask(0o077)
    try:
        again = build(
            tmp_path / "again", copy(project), TZ="Asia/Kolkata", LC_ALL="C.UTF-8"
        )
    finally:
        os.umask(old)
    assert again.name == package.name
    assert again.read_bytes() == package.read_bytes()


def test_its_time_is_the_commits(tmp_path):
    """So a checkout is all it takes."""
    log = ["git", "-C", str(PROJECT), "log", "-1", "--format=%ct"]
    time = subprocess.run(log, check=True, capture_output=True, text=True).stdout
    environment = {**os.environ}
    environment.pop("SOURCE_DATE_EPOCH", None)
    command = [PROJECT / "deploy/debian/build", tmp_path]
    done = subprocess.run(command, env=environment, check=True, capture_output=True)
    listing = contents(done.stdout.decode().strip())
    minute = ["date", "--utc", "--date", f"@{time.strip()}", "+%Y-%m-%d %H:%M"]
    date = subprocess.run(minute, capture_output=True, text=True).stdout.strip()
    assert all(f" {date} ./" in line for line in listing.splitlines()), listing
    assert time.strip() != EPOCH


def test_everything_is_roots_and_nobody_else_may_write(package):
    for line in contents(package).splitlines():
        mode, owner, *_ = line.split()
        assert owner == "root/root", line
        assert mode in ("drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x"), line


def test_the_unit_is_the_shipped_one_but_for_its_paths(package):
    shipped = (PROJECT / "deploy/systemd/sse-sidecar.service").read_text()
    packaged = read(package, "usr/lib/systemd/system/sse-sidecar.service")
    new = set(packaged.splitlines()) - set(shipped.splitlines())
    assert new == {
        "Documentation=man:sse-sidecar(1)",
        "ExecStart=/usr/bin/sse-sidecar --config /etc/sse-sidecar/config.toml",
    }
    gone = set(shipped.splitlines()) - set(packaged.splitlines())
    assert len(gone) == 2 and "/usr/local" not in packaged


def test_a_binary_that_is_not_static_is_refused(tmp_path):
    command = [PROJECT / "deploy/debian/build", tmp_path]
    environment = {**os.environ, "SSE_SIDECAR_BIN": "/usr/bin/true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "/usr/bin/true is not static" in done.stderr


def test_a_binary_for_aarch64_makes_a_package_for_arm64(tmp_path):
    binary = bytearray(Path(os.environ["SSE_SIDECAR_BIN"]).read_bytes())
    # e_machine; nothing of it is run.
    binary[18:20] = b"\xb7\x00"
    (tmp_path / "sse-sidecar").write_bytes(binary)
    package = build(tmp_path, SSE_SIDECAR_BIN=str(tmp_path / "sse-sidecar"))
    field = ["dpkg-deb", "--field", str(package), "Architecture"]
    assert subprocess.run(field, capture_output=True).stdout == b"arm64\n"


def test_lintian_finds_no_error(package):
    """Warnings it has two: a first upload to Debian would close a bug, and a static binary looks like a library."""
    command = ["lintian", "--fail-on", "error", str(package)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
