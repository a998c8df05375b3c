"""The SDKs of OpenAI and Anthropic, on a mock of their APIs."""

import json

import pytest

from harness import expect
from harness.clients import Client, leaving, listen
from harness.tap import Tap

pytestmark = pytest.mark.parametrize("backend", ["llm"], indirect=True)

SDKS = [
    pytest.param("openai_python", "chat", id="openai-python-chat"),
    pytest.param("openai_python", "responses", id="openai-python-responses"),
    pytest.param("openai_node", "chat", id="openai-node-chat"),
    pytest.param("openai_node", "responses", id="openai-node-responses"),
    pytest.param("anthropic_python", "messages", id="anthropic-python"),
    pytest.param("anthropic_node", "messages", id="anthropic-node"),
]
# The mock's streams: an event each 150 ms, and a second of silence before the third
# delta, in which five heartbeats are due, give or take one.
GAP_MS = 150
AT_LEAST = 3
MANNERS = ["plain", "ids", "gzip"]


def meaning(heard):
    """The events without the moment they were sent."""
    return [
        (event.type, {k: v for k, v in json.loads(event.data).items() if k != "sent"})
        for event in heard.events
    ]


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize(("sdk", "api"), SDKS)
def test_an_sdk_hears_the_same_as_directly(backend, chatty, sdk, api, manner, key):
    with (
        Tap(chatty.port) as tap,
        Client(sdk, f"{backend.url}/{manner}/{key}", api=api) as direct,
        Client(sdk, f"{tap.url}/{manner}/{key}", api=api) as proxied,
    ):
        expected, heard = direct.until_end(), proxied.until_end()
    assert tap.heartbeats() >= AT_LEAST, bytes(tap.heard)
    assert meaning(heard) == meaning(expected)
    assert meaning(heard)


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize(("sdk", "api"), SDKS)
def test_an_sdk_hears_events_one_by_one(sidecar, sdk, api, manner, key):
    heard = listen(sdk, f"{sidecar.url}/{manner}/{key}", api=api)
    expect.one_by_one(heard, len(heard.events), GAP_MS)


@pytest.mark.parametrize(("sdk", "api"), SDKS)
def test_the_model_stops_when_the_sdk_leaves(sidecar, backend, sdk, api, key):
    url = f"{sidecar.url}/endless/{key}"
    with leaving(sdk, url, after=6, api=api) as left:
        expect.soon_after(left, backend.wait_aborted(key))
