"""A model that thinks before its head: SDKs take heartbeats before the first event."""

import pytest

from harness.clients import Client, listen
from harness.tap import Tap
from test_llm_sdks import SDKS, meaning

# None of the SDKs asks for `text/event-stream`, so the route has to say it.
SETTINGS = """
heartbeat.interval = "200ms"
heartbeat.before_head = "300ms"
events.streaming = true
"""

# The mock thinks for a second, so four are due before its head, give or take one.
AT_LEAST = 3


@pytest.mark.parametrize("backend", ["llm"], indirect=True)
@pytest.mark.parametrize(("sdk", "api"), SDKS)
def test_an_sdk_hears_the_same_after_an_early_head(
    backend, sidecar_with, sdk, api, key
):
    with (
        Tap(sidecar_with(SETTINGS).port) as tap,
        Client(sdk, f"{backend.url}/thinking/{key}", api=api) as direct,
        Client(sdk, f"{tap.url}/thinking/{key}", api=api) as proxied,
    ):
        expected, heard = direct.until_end(), proxied.until_end()
    before, _, _ = tap.heard.partition(b"data: ")
    assert before.count(b": heartbeat\n") >= AT_LEAST, tap.heard
    assert meaning(heard) == meaning(expected)
    assert len(heard.events) >= 7


@pytest.mark.parametrize("backend", ["llm"], indirect=True)
@pytest.mark.parametrize(
    ("sdk", "api", "dialect"),
    [
        ("openai_python", "chat", "abort"),
        ("openai_node", "chat", "abort"),
        ("anthropic_python", "messages", "anthropic"),
        ("anthropic_node", "messages", "anthropic"),
    ],
)
def test_an_sdk_raises_an_error_at_a_late_429(sidecar_with, sdk, api, dialect, key):
    settings = f'{SETTINGS}events.on_upstream_failure = "{dialect}"'
    url = f"{sidecar_with(settings).url}/limited/{key}"
    with pytest.raises(AssertionError, match="429 Too Many Requests"):
        listen(sdk, url, api=api)
