"""The doctor, and what it finds."""

import json
import subprocess
from dataclasses import dataclass

from harness.hops import TOKEN
from harness.process import environment, tied_to_us
from harness.sidecar import binary


@dataclass
class Diagnosis:
    code: int
    report: dict

    def findings(self) -> list[dict]:
        """Those that count."""
        return [found for found in self.report["findings"] if found["counts"]]

    def rules(self) -> set[str]:
        return {found["rule"] for found in self.findings()}

    def fixes(self, rule: str) -> str:
        """What it says to change against `rule`, in the order in which it says so."""
        [found] = [found for found in self.findings() if found["rule"] == rule]
        fixes = found["fixes"]
        return "\n".join(f"{fix['product']}: {fix['setting']}" for fix in fixes)


def start(url: str, *options: str) -> subprocess.Popen:
    argv = tied_to_us(binary(), "doctor", url, "--json", *options)
    return subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen) -> Diagnosis:
    output, _ = process.communicate()
    assert process.returncode in (0, 1), output
    return Diagnosis(process.returncode, json.loads(output))


def doctor(url: str, *options: str) -> Diagnosis:
    """What it finds in the stream at `url`."""
    return result(start(url, *options))


def probing(silence: str = "4s") -> tuple[str, ...]:
    return "--probe", TOKEN, "--for", silence
