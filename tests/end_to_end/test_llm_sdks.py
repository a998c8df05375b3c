"""The SDKs of OpenAI, Anthropic and Google, on a mock of their APIs."""

import json

import pytest

from harness import expect
from harness.clients import Client, leaving, listen
from harness.tap import Tap

pytestmark = pytest.mark.parametrize("backend", ["llm"], indirect=True)

SDKS = [
    ("openai_python", "chat"),
    ("openai_python", "responses"),
    ("openai_node", "chat"),
    ("openai_node", "responses"),
    ("anthropic_python", "messages"),
    ("anthropic_node", "messages"),
    ("genai_node", "generateContent"),
]
# The GenAI SDK finds no event where an id comes before the data, directly neither.
MANNERS = [
    (*sdk, manner)
    for sdk in SDKS
    for manner in ("plain", "ids", "gzip")
    if (sdk[0], manner) != ("genai_node", "ids")
]

# The mock's streams: an event each 150 ms, and a second of silence before the third
# delta, in which five heartbeats are due, give or take one.
GAP_MS = 150
AT_LEAST = 3


def meaning(heard):
    """The events without the moment they were sent."""
    return [
        (event.type, {k: v for k, v in json.loads(event.data).items() if k != "sent"})
        for event in heard.events
    ]


@pytest.mark.parametrize(("sdk", "api", "manner"), MANNERS)
def test_an_sdk_hears_the_same_as_directly(backend, chatty, sdk, api, manner, key):
    with (
        Tap(chatty.port) as tap,
        Client(sdk, f"{backend.url}/{manner}/{key}", api=api) as direct,
        Client(sdk, f"{tap.url}/{manner}/{key}", api=api) as proxied,
    ):
        expected, heard = direct.until_end(), proxied.until_end()
    assert tap.heartbeats() >= AT_LEAST, tap.heard
    assert meaning(heard) == meaning(expected)
    assert len(heard.events) >= 7


@pytest.mark.parametrize(("sdk", "api", "manner"), MANNERS)
def test_an_sdk_hears_events_one_by_one(sidecar, sdk, api, manner, key):
    heard = listen(sdk, f"{sidecar.url}/{manner}/{key}", api=api)
    expect.one_by_one(heard, len(heard.events), GAP_MS)


@pytest.mark.parametrize(("sdk", "api"), SDKS)
def test_the_model_stops_when_the_sdk_leaves(sidecar, backend, sdk, api, key):
    url = f"{sidecar.url}/endless/{key}"
    with leaving(sdk, url, after=6, api=api) as left:
        expect.soon_after(left, backend.wait_aborted(key))


@pytest.mark.parametrize(
    ("sdk", "api", "manner", "frame", "count"),
    [
        # Raises on the empty event that a blank line makes once an id was seen.
        ("openai_python", "chat", "ids", "block", 8),
        # Loses the event after a comment that has no blank line.
        ("genai_node", "generateContent", "plain", "line", 7),
    ],
)
def test_the_wrong_frame_would_harm(sidecar_with, sdk, api, manner, frame, count, key):
    """The control: there is a reason for not sending everybody the same."""
    wrong = sidecar_with(f'heartbeat = {{ interval = "200ms", frame = "{frame}" }}')
    with pytest.raises(AssertionError):
        heard = listen(sdk, f"{wrong.url}/{manner}/{key}", api=api)
        assert len(heard.events) == count
