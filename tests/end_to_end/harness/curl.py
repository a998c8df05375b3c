"""curl, told what to do as on a command line."""

import json
import subprocess
from dataclasses import dataclass
from typing import Any, BinaryIO

from harness.process import environment

ABOUT = '%{stderr}{"about":%{json},"headers":%{header_json}}'


@dataclass(frozen=True)
class Run:
    body: bytes
    about: dict[str, Any]
    """What `%{json}` says of the last transfer."""
    headers: dict[str, list[str]]
    """Of the last response, with names in lower case."""

    @property
    def status(self) -> int:
        return self.about["response_code"]

    def json(self) -> Any:
        return json.loads(self.body)


def curl(*arguments: str, stdin: BinaryIO | None = None) -> Run:
    run = subprocess.run(
        ["curl", "--silent", "--show-error", "--write-out", ABOUT, *arguments],
        env=environment(),
        stdin=stdin or subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    # One object for each transfer.
    last = run.stderr[run.stderr.rindex(b'{"about":') :]
    return Run(run.stdout, **json.loads(last))
