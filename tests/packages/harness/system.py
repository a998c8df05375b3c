"""A root file system with just what maintainer scripts need, made of the machine's own packages."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from .manager import Manager

PACKAGES = ["dash", "init-system-helpers", "perl-base"]
PROGRAMS = ["/bin/sh", "/usr/bin/perl"]
# What the scripts ask of systemd is done by the tests (`Manager`).
SYSTEMCTL = """#!/bin/sh
echo "$*" >/run/systemd/request
read -r code text </run/systemd/reply
[ -z "$text" ] || echo "$text"
exit "$code"
"""


def _output(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout


def _files() -> list[str]:
    listed = _output("dpkg", "--listfiles", *PACKAGES).splitlines()
    libraries = re.findall(r"(/\S+) \(0x", _output("ldd", *PROGRAMS))
    return [path for path in listed + PROGRAMS + libraries if not os.path.isdir(path)]


class System:
    """The root, its dpkg, and its service manager."""

    def __init__(self, root: Path):
        self.root = root
        for folder in ["bin", "lib", "lib64", "sbin"]:
            (root / "usr" / folder).mkdir(parents=True)
            (root / folder).symlink_to(f"usr/{folder}")
        for folder in ["dev", "etc", "run/systemd/system", "tmp"]:
            (root / folder).mkdir(parents=True)
        (root / "dev/null").touch(mode=0o666)
        for path in filter(os.path.lexists, _files()):
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(target):
                shutil.copy2(path, target, follow_symlinks=False)
            if os.path.islink(path):
                real = root / os.path.realpath(path).lstrip("/")
                real.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(os.path.realpath(path), real)
        systemctl = root / "usr/bin/systemctl"
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        for folder in ["info", "updates", "triggers", "alternatives", "parts"]:
            (root / "var/lib/dpkg" / folder).mkdir(parents=True)
        for database in ["status", "available"]:
            (root / "var/lib/dpkg" / database).touch()
        self.manager = Manager(root)

    def dpkg(self, *arguments: str) -> str:
        """Runs dpkg on it, which runs the maintainer scripts in it; everything that was said."""
        command = ["dpkg", f"--root={self.root}", *arguments]
        # Never a question: an error if there would be one.
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        return said

    def state(self) -> str:
        """What dpkg says of the package."""
        query = ["dpkg-query", f"--admindir={self.root}/var/lib/dpkg"]
        shown = [*query, "--show", "--showformat=${Status} ${Version}", "sse-sidecar"]
        return subprocess.run(shown, capture_output=True, text=True).stdout

    def tree(self) -> dict[str, str]:
        """Every file, with mode and owner, but for dpkg's own."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if not name.startswith(("var/lib/dpkg/", "var/log/", "run/")):
                state = path.lstat()
                found[name] = f"{state.st_mode:o} {state.st_uid}:{state.st_gid}"
        return found

    @property
    def config(self) -> Path:
        """The configuration of the service."""
        return self.root / "etc/sse-sidecar/config.toml"

    @property
    def enabled(self) -> Path:
        """What makes systemd start the service at boot."""
        return self.manager.enabled
