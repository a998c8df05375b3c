"""What a person sees at `sse-sidecar demo`, who starts it, waits, and stops it."""

import json
import re
import subprocess
from pathlib import Path

from harness.ports import free_port
from harness.process import HERE, Server, environment, node, tied_to_us
from harness.sidecar import binary

SCREENSHOT = HERE / ".cache/demo.png"


class Demo(Server):
    def __init__(self, folder: Path) -> None:
        port = free_port()
        argv = tied_to_us(binary(), "demo", "--port", str(port))
        super().__init__("demo", argv, port, folder / "log")


def test_a_person_sees_the_difference_and_the_cancellation(start):
    options = json.dumps({"url": start(Demo).url, "screenshot": str(SCREENSHOT)})
    person = subprocess.run(
        node(HERE / "clients/demo_page.mjs", options),
        cwd=HERE,
        env=environment(),
        stdout=subprocess.PIPE,
        timeout=40,
        check=True,
    )
    seen = json.loads(person.stdout)

    for column in (moment["buffering"] for moment in seen.values()):
        assert (column["answer"], column["events"], column["heartbeats"]) == ("", 0, 0)

    early, silent, stopped = (moment["sidecar"] for moment in seen.values())
    assert 0 < early["events"] <= silent["events"] <= stopped["events"]
    assert silent["heartbeats"] > 0
    assert re.match(
        r"The backend saw the cancellation after \d{1,3} ms\.", stopped["outcome"]
    )
    assert SCREENSHOT.stat().st_size > 0
