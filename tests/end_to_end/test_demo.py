"""What a person sees at `sse-sidecar demo`, who waits, stops it, and goes on."""

import json
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest

from harness.nginx import Nginx
from harness.ports import free_port
from harness.process import HERE, Server, environment, node, tied_to_us
from harness.sidecar import binary
from harness.waiting import wait_for

SCREENSHOT = HERE / ".cache/demo.png"


class Demo(Server):
    def __init__(self, folder: Path) -> None:
        port = free_port()
        argv = tied_to_us(binary(), "demo", "--port", str(port))
        super().__init__("demo", argv, port, folder / "log")


@pytest.fixture(scope="module")
def person(start) -> dict:
    """What somebody sees who stops the first run."""
    options = json.dumps({"url": start(Demo).url, "screenshot": str(SCREENSHOT)})
    person = subprocess.run(
        node(HERE / "clients/demo_page.mjs", options),
        cwd=HERE,
        env=environment(),
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    return json.loads(person.stdout)


def test_a_person_sees_the_difference_as_it_is_made(person):
    seen = person["seen"]
    for column in (moment["buffering"] for moment in seen.values()):
        assert (column["answer"], column["tokens"], column["heartbeats"]) == ("", 0, 0)
    early, silent, *_ = (moment["sidecar"] for moment in seen.values())
    assert 0 < early["tokens"] <= silent["tokens"]
    assert silent["heartbeats"] > 0
    assert SCREENSHOT.stat().st_size > 0


def test_a_stop_ends_the_work_behind_the_sidecar_alone(person):
    stopped, over = person["seen"]["stopped"], person["seen"]["over"]
    stop = r"The backend stopped \d{1,3} ms after you\. "
    assert re.match(stop, stopped["sidecar"]["outcome"])
    assert stopped["sidecar"]["wasted"] == over["sidecar"]["wasted"] <= 1
    assert 0 < stopped["buffering"]["wasted"] < over["buffering"]["wasted"]


def test_the_proof_is_above_the_fold_and_nothing_moves(person):
    moments = person["seen"].values()
    columns = [column for moment in moments for column in moment.values()]
    assert all(column["bottom"] < 600 for column in columns)
    assert len({(column["top"], column["bottom"]) for column in columns}) == 1


def test_a_phone_shows_the_sidecar_first(person):
    phone = person["phone"]
    assert phone["sidecar"]["bottom"] < phone["buffering"]["top"]
    assert phone["sidecar"]["bottom"] < 740
    assert person["overflow"] <= 0


def test_it_waits_for_those_who_want_no_motion(person):
    assert person["calm"]["sidecar"]["outcome"] == ""
    assert person["calm"]["sidecar"]["tokens"] == 0


def test_everybody_can_use_it(person):
    assert person["errors"] == []
    assert person["found"] == {"light": [], "phone": []}
    assert person["focus"] == "Start again"


def test_it_ends_with_the_command_and_leads_to_the_status_page(person):
    assert person["copied"].endswith("sse-sidecar --upstream http://127.0.0.1:3000")
    assert person["status"].endswith("/status")


@pytest.mark.parametrize(
    "directive, end",
    [("proxy_ignore_client_abort on;", "finished"), ("", "cancelled")],
    ids=["as on the page", "nginx alone"],
)
def test_nginx_passes_a_disconnect_on_or_not_as_the_page_says(
    start, person, directive, end, key
):
    def record() -> dict | None:
        return get(f"{start(Demo).url}/record?{key}")

    def over() -> str | None:
        state = record()["state"]
        return state if state != "streaming" else None

    [backend] = get(f"{person['status']}.json")["upstreams"]
    nginx = start(Nginx, backend["url"], directive)
    client = subprocess.Popen(tied_to_us("curl", f"{nginx.url}/stream?{key}"))
    wait_for(record, "the stream is open")
    client.kill()
    client.wait()
    assert wait_for(over, "the stream is over", seconds=20) == end


def get(url: str):
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)
