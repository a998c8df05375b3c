"""Clients without ids find their stream by a key that their requests carry: chats that are reloaded,
and applications of one's own."""

import json

import pytest

from harness.clients import Client
from harness.curl import curl
from harness.feed import Feed
from harness.hop import Hop
from harness.kept import numbers, wait_detached
from harness.reader import Reader
from harness.sidecar import Sidecar
from harness.waiting import wait_for

CHAT = """
resume.key = "json:/id"
resume.at = "/api/chat/{key}/stream"
resume.stop = "POST /api/chat/{key}/stop"
"""
KEYS = {
    "header": ("header:X-Conversation-Id", "", {"X_Conversation_Id": "c1"}),
    "query": ("query:run", "?a=1&run=c1", {}),
    "json": ("json:/id", "", {}),
}


def part(kind: str, **more: str) -> bytes:
    return b"data: " + json.dumps({"type": kind, **more}).encode() + b"\n\n"


def word(number: int) -> bytes:
    return part("text-delta", id="t", delta=f"word {number} ")


def answering(feed: Feed, number: int):
    """The beginning of an answer of the AI SDK's backend."""
    asked = feed.request(number)
    assert json.loads(asked.body)["id"] == "c1"
    asked.begin("x-vercel-ai-ui-message-stream: v1")
    asked.write(part("start", messageId="m1") + part("text-start", id="t"))
    for count in range(4):
        asked.write(word(count))
    return asked


def finish(asked) -> None:
    asked.write(part("text-end", id="t") + part("finish") + b"data: [DONE]\n\n")
    asked.end()


def shown(words: int) -> str:
    return "assistant: " + "".join(f"word {number} " for number in range(words))


def test_a_chat_that_is_reloaded_goes_on(keeping, feed):
    """The AI SDK with `resume: true`: what was said before the reload is there at once, and what is said
    after it comes as it is said."""
    sidecar = keeping(CHAT)
    options = {
        "id": "c1",
        "question": "hello",
        "reload_at": "word 3",
        "until": "word 7",
    }
    with Client("ai_sdk_chat", sidecar.url, **options) as chat:
        asked = answering(feed, 1)
        chat.until_data("", "reload")
        asked.write(word(4))
        chat.until_data(shown(5), "streaming")
        asked.write(word(5))
        chat.until_data(shown(6), "streaming")
        asked.write(word(6) + word(7))
        finish(asked)
        heard = chat.until_end()
    assert shown(8) in [event.data for event in heard.events]
    resumed = [event.data for event in heard.events if event.type == "resumed"]
    assert resumed == ["204", "200"]
    assert feed.count == 1
    assert asked.left is None


def test_a_chat_whose_answer_ended_while_it_was_reloaded_has_it_whole(keeping, feed):
    sidecar = keeping(CHAT)
    options = {
        "id": "c1",
        "question": "hello",
        "reload_at": "word 3",
        "until": "word 4",
    }
    with Hop(sidecar.port) as hop, Client("ai_sdk_chat", hop.url, **options) as chat:
        asked = answering(feed, 1)
        chat.until_data("", "reload")
        asked.write(word(4))
        finish(asked)
        heard = chat.until_end()
    assert shown(5) in [event.data for event in heard.events]
    assert feed.count == 1


def test_a_chat_that_is_reloaded_after_its_answer_shows_it_once(keeping, feed):
    """Its application has stored the answer, under a name of its own: a replay would be a second one."""
    sidecar = keeping(f'{CHAT}resume.after_end = "stop"')
    stored = [
        {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "hello"}]},
        {
            "id": "a1",
            "role": "assistant",
            "parts": [{"type": "text", "text": "word 3"}],
        },
    ]
    options = {
        "id": "c1",
        "question": "hello",
        "reload_at": "word 3",
        "until": "word 3",
    }
    with Client("ai_sdk_chat", sidecar.url, **options, messages=stored) as chat:
        finish(answering(feed, 1))
        heard = chat.until_end()
    resumed = [event.data for event in heard.events if event.type == "resumed"]
    assert resumed == ["204", "204"]
    last = [event.data for event in heard.events if event.type == "ready"][-1]
    assert last == "user: hello; assistant: word 3"
    assert feed.count == 1


def test_a_chat_that_nobody_asked_anything_rests(keeping, feed):
    """What the AI SDK asks as it is opened is answered by the sidecar."""
    url = keeping(CHAT).url
    with Reader(f"{url}/api/chat/c9/stream", accept="*/*") as reader:
        assert reader.head().status == 204
    assert feed.count == 0


def begin(url: str, feed, kind: str, number: int = 1, **more: str):
    _, query, fields = KEYS[kind]
    reader = Reader(
        f"{url}/ask{query}", body=b'{"id":"c1"}', accept="*/*", **fields, **more
    )
    asked = feed.request(number)
    asked.begin()
    asked.events(1, 3)
    return reader.until_events(3), asked


@pytest.mark.parametrize("kind", KEYS)
def test_a_stream_is_joined_from_its_start(keeping, feed, kind):
    """A second reader takes nothing away from the first."""
    settings = f'resume.key = "{KEYS[kind][0]}"\nresume.at = "/runs/{{key}}/stream"'
    sidecar = keeping(settings)
    first, asked = begin(sidecar.url, feed, kind)
    with first, Reader(f"{sidecar.url}/runs/c1/stream", accept="*/*") as second:
        second.until_events(3)
        assert b"id:" not in second.body
        asked.events(4, 5)
        first.until_events(5)
        second.until_events(5)
        first.reset()
        asked.events(6, 6)
        second.until_events(6)
        second.reset()
        wait_detached(sidecar)
        asked.events(7, 7)
        with Reader(f"{sidecar.url}/runs/c1/stream", accept="*/*") as third:
            third.until_events(7)
            asked.end()
            assert third.until_end() == "clean"
            assert third.data == numbers(1, 7)
    assert feed.count == 1
    assert asked.body == b'{"id":"c1"}'


def test_another_user_s_key_is_another_key(keeping, feed):
    sidecar = keeping(CHAT)
    first, _ = begin(sidecar.url, feed, "json", Cookie="sid=mine")
    with first:
        for fields in ({}, {"Cookie": "sid=other"}):
            with Reader(
                f"{sidecar.url}/api/chat/c1/stream", accept="*/*", **fields
            ) as other:
                assert other.head().status == 204
        mine = Reader(
            f"{sidecar.url}/api/chat/c1/stream", accept="*/*", Cookie="sid=mine"
        )
        with mine:
            assert mine.until_events(3).data == numbers(1, 3)
    assert feed.count == 1


def test_the_latest_question_has_the_key(keeping, feed):
    """The stream before it goes on to its end, for whoever reads it."""
    sidecar = keeping(CHAT)
    first, asked = begin(sidecar.url, feed, "json")
    second, again = begin(sidecar.url, feed, "json", 2)
    with first, second:
        again.events(4, 4)
        with Reader(f"{sidecar.url}/api/chat/c1/stream", accept="*/*") as joined:
            joined.until_events(4)
        asked.write(b"data: of the first\n\n")
        assert first.until_events(4).data[-1] == "of the first"
        assert asked.left is None


def test_a_key_that_is_escaped_in_the_path_is_the_same(keeping, feed):
    sidecar = keeping(CHAT)
    with Reader(
        f"{sidecar.url}/ask", body='{"id":"a b/ü"}'.encode(), accept="*/*"
    ) as first:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 1)
        first.until_events(1)
        url = f"{sidecar.url}/api/chat/a%20b%2F%C3%BC/stream"
        with Reader(url, accept="*/*") as second:
            assert second.until_events(1).data == ["1"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b'{"id":7}',
        b'{"other":"c1"}',
        b'{"id":{}}',
        b"[1]",
        b'{"id":"' + b"x" * (1 << 20) + b'"}',
    ],
    ids=["empty", "not JSON", "a number", "without", "an object", "a list", "large"],
)
def test_what_has_no_key_passes(keeping, feed, body):
    sidecar = keeping(CHAT)
    with Reader(f"{sidecar.url}/ask", body=body, accept="*/*") as reader:
        asked = feed.request(1)
        assert asked.body == body
        asked.begin()
        asked.events(1, 2)
        asked.end()
        assert reader.until_end() == "clean"
        assert reader.data == ["1", "2"]


def test_an_ordinary_answer_is_not_kept(keeping, feed):
    sidecar = keeping(CHAT)
    with Reader(f"{sidecar.url}/ask", body=b'{"id":"c1"}', accept="*/*") as reader:
        asked = feed.request(1)
        asked.begin(kind="Content-Type: application/json")
        asked.write(b"{}")
        asked.end()
        assert reader.until_end() == "clean"
        assert reader.body == b"{}"
    assert curl(f"{sidecar.url}/api/chat/c1/stream").status == 204
    assert sidecar.count("history_streams") == 0


def test_other_methods_at_that_place_are_the_backend_s(keeping, feed):
    sidecar = keeping(CHAT)
    feed.refuses = "418 A Teapot"
    for number, method in enumerate(("POST", "PUT"), 1):
        assert curl("-X", method, f"{sidecar.url}/api/chat/c1/stream").status == 418
        assert feed.request(number).method == method


def test_a_stream_by_key_is_gone_after_its_grace(start, feed, proxied):
    sidecar = start(
        Sidecar, feed.url, f'resume.grace = "300ms"\nresume.keep = "300ms"\n{CHAT}'
    )
    first, asked = begin(sidecar.url, feed, "json")
    first.reset()
    asked.wait_left()
    wait_for(lambda: sidecar.count("history_streams") == 0, "nothing is kept")
    assert curl(f"{sidecar.url}/api/chat/c1/stream").status == 204
    assert feed.count == 1
