"""What SDKs make of an upstream that fails in the middle; see `docs/llm-apps.md`."""

import pytest

from harness.clients import Client, listen
from test_llm_sdks import SDKS

pytestmark = pytest.mark.parametrize("backend", ["llm"], indirect=True)

TOLD = "upstream connection failed"


@pytest.mark.parametrize(
    ("sdk", "api", "on_failure", "said"),
    [
        ("openai_python", "chat", "abort", "APIConnectionError"),
        ("openai_python", "chat", "event", f"APIError: The {TOLD}"),
        ("openai_node", "chat", "abort", "terminated"),
        ("openai_node", "chat", "event", TOLD),
        ("openai_python", "responses", "abort", "APIConnectionError"),
        ("openai_python", "responses", "event", f"APIError: The {TOLD}"),
        ("openai_node", "responses", "abort", "terminated"),
        ("openai_node", "responses", "event", TOLD),
        ("anthropic_python", "messages", "abort", "RemoteProtocolError"),
        ("anthropic_python", "messages", "anthropic", f"Status.*api_error.*{TOLD}"),
        ("anthropic_node", "messages", "abort", "terminated"),
        ("anthropic_node", "messages", "anthropic", f"APIError.*api_error.*{TOLD}"),
        ("genai_node", "generateContent", "abort", "terminated"),
        ("genai_node", "generateContent", "event", "terminated"),
    ],
)
def test_an_sdk_raises_an_error(sidecar_with, sdk, api, on_failure, said, key):
    settings = f'events.on_upstream_failure = "{on_failure}"'
    url = f"{sidecar_with(settings).url}/broken/{key}"
    with Client(sdk, url, api=api) as client, pytest.raises(AssertionError, match=said):
        client.until_end()
    assert len(client.heard.events) >= 2


@pytest.mark.parametrize("sdk", ["openai_python", "openai_node"])
@pytest.mark.parametrize(("api", "is_known"), [("responses", True), ("chat", False)])
def test_response_failed_is_an_event_of_the_responses_api(
    sidecar_with, sdk, api, is_known, key
):
    """Clients of Chat Completions take it for a chunk, which has no choices."""
    settings = 'events.on_upstream_failure = "openai-responses"'
    url = f"{sidecar_with(settings).url}/broken/{key}"
    with Client(sdk, url, api=api) as client, pytest.raises(AssertionError):
        client.until_end()
    last = client.heard.events[-1]
    assert "response.failed" in last.data
    assert ('"choices"' in last.data) == (sdk == "openai_python" and not is_known)


@pytest.mark.parametrize(("sdk", "api"), SDKS)
def test_a_clean_early_end_is_taken_for_complete(sidecar, sdk, api, key):
    """Nobody but the backend knows better: so says the page."""
    heard = listen(sdk, f"{sidecar.url}/short/{key}", api=api)
    assert heard.ended and 2 <= len(heard.events) < 7


def test_genai_takes_a_late_error_for_an_empty_answer(sidecar_with, key):
    settings = """
    heartbeat.before_head = "300ms"
    events.streaming = true
    """
    url = f"{sidecar_with(settings).url}/limited/{key}"
    heard = listen("genai_node", url, api="generateContent")
    assert heard.ended and not heard.events
