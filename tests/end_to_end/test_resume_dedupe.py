"""Two requests that are the same one are one generation at the backend: repeated by an SDK that lost
patience, or by anybody with the same idempotency key."""

import json

import pytest

from harness import expect
from harness.clients import Client
from harness.hop import Hop
from harness.kept import numbers
from harness.reader import Reader
from harness.waiting import wait_for
from harness.wire import now_ms

JOIN = 'dedupe.second = "join"\n'
BODY = b'{"prompt":"count"}'
OTHER = b'{"prompt":"else"}'
MINE = {"Authorization": "Bearer mine"}


def post(url: str, body: bytes = BODY, key: str | None = "k1", **fields: str) -> Reader:
    named = {"Idempotency_Key": key} if key else {}
    return Reader(f"{url}/ask", body=body, **{"accept": "*/*"} | named | MINE | fields)


def deduplicated(sidecar) -> int:
    return sidecar.count("deduplicated_total")


def wait_active(sidecar, count: int = 2) -> None:
    """Until the sidecar has so many requests whose clients are there."""
    what = f"{count} requests are there"
    wait_for(lambda: sidecar.count("requests_active") == count, what)


def test_two_before_the_head_are_one(keeping, feed):
    """The second comes while the model still thinks."""
    sidecar = keeping(JOIN)
    with post(sidecar.url) as first:
        asked = feed.request(1)
        with post(sidecar.url) as second:
            wait_active(sidecar)
            asked.begin()
            asked.events(1, 5)
            for reader in (first, second):
                reader.until_events(5)
            asked.events(6, 10)
            asked.end()
            for reader in (first, second):
                assert reader.until_end() == "clean"
                assert reader.data == numbers(1, 10)
    assert feed.count == 1
    assert deduplicated(sidecar) == 1


def test_one_that_comes_later_has_all(keeping, feed):
    """While it runs, and after its end as long as it is kept."""
    sidecar = keeping(JOIN)
    with post(sidecar.url) as first:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        first.until_events(3)
        with post(sidecar.url) as second:
            second.until_events(3)
            asked.events(4, 4)
            asked.end()
            for reader in (first, second):
                assert reader.until_end() == "clean"
                assert reader.data == numbers(1, 4)
    with post(sidecar.url) as third:
        assert third.until_end() == "clean"
        assert third.data == numbers(1, 4)
    assert feed.count == 1


def test_one_whose_first_is_gone_has_all(keeping, feed):
    """The key is what a client comes back with, so that its stream waits for it."""
    sidecar = keeping(JOIN)
    with post(sidecar.url) as first:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        first.until_events(3)
        first.reset()
    asked.events(4, 5)
    with post(sidecar.url) as second:
        second.until_events(5)
        assert second.data == numbers(1, 5)
        asked.end()
        assert second.until_end() == "clean"
    assert feed.count == 1


def test_the_same_key_with_another_body_is_refused(keeping, feed):
    sidecar = keeping(JOIN)
    with post(sidecar.url):
        asked = feed.request(1)
        asked.begin()
        with post(sidecar.url, OTHER) as second:
            second.until_end()
            assert second.status == 422
            assert json.loads(second.body)["reason"] == "idempotency_key_reused"
    assert feed.count == 1


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"Authorization": "Bearer other"}, "k1"),
        ({"Cookie": "sid=other"}, "k1"),
        ({}, "k2"),
        ({}, None),
    ],
    ids=["another token", "another cookie", "another key", "no key"],
)
def test_what_is_not_the_same_is_two(keeping, feed, fields, key):
    sidecar = keeping(JOIN)
    with post(sidecar.url) as first, post(sidecar.url, key=key, **fields) as second:
        for number in (1, 2):
            asked = feed.request(number)
            asked.begin()
            asked.events(1, 1)
            asked.end()
        assert first.until_end() == second.until_end() == "clean"
    assert deduplicated(sidecar) == 0


def test_equal_prompts_without_a_key_are_two(keeping, feed):
    """They may be meant: samples of one question, and first tries of an SDK, which it counts 0."""
    sidecar = keeping(JOIN)
    first_try = {"x_stainless_retry_count": "0"}
    with (
        post(sidecar.url, key=None, **first_try) as first,
        post(sidecar.url, key=None, **first_try) as second,
    ):
        for number in (1, 2):
            asked = feed.request(number)
            asked.begin()
            asked.events(1, 1)
            asked.end()
        assert first.until_end() == second.until_end() == "clean"
    assert deduplicated(sidecar) == 0


def test_a_route_may_take_equal_prompts_of_one_user_for_one(keeping, feed):
    sidecar = keeping(f'{JOIN}dedupe.body = "30s"\n')
    with post(sidecar.url, key=None) as first:
        asked = feed.request(1)
        with (
            post(sidecar.url, key=None) as second,
            post(sidecar.url, OTHER, None) as other,
        ):
            assert feed.request(2).body == OTHER
            feed.request(2).refuse("418 A Teapot")
            other.head()
            wait_active(sidecar)
            asked.begin()
            asked.events(1, 2)
            asked.end()
            assert first.until_end() == second.until_end() == "clean"
            assert second.data == numbers(1, 2)
    # Somebody else's prompt is somebody else's.
    with post(sidecar.url, key=None, Authorization="Bearer other"):
        feed.request(3)


@pytest.mark.parametrize("status", ["500 Internal", "429 Too Many", "400 Bad"])
def test_a_first_that_failed_does_not_stand_in_the_way(keeping, feed, status):
    sidecar = keeping(JOIN)
    with post(sidecar.url) as first:
        feed.request(1).refuse(status)
        assert first.head().status == int(status[:3])
        with post(sidecar.url) as second:
            again = feed.request(2)
            again.begin()
            again.events(1, 1)
            again.end()
            assert second.until_end() == "clean"
            assert second.data == ["1"]


def test_those_that_wait_for_a_first_that_fails_go_on_their_own_or_fail_alike(
    keeping, feed
):
    sidecar = keeping(JOIN)
    with post(sidecar.url) as first:
        asked = feed.request(1)
        with post(sidecar.url) as second:
            wait_active(sidecar)
            feed.refuses = "500 Internal"
            asked.refuse("500 Internal")
            assert first.head().status == 500
            assert second.head().status == 500


def test_a_second_may_be_refused(keeping, feed):
    sidecar = keeping('dedupe.second = "reject"')
    with post(sidecar.url):
        feed.request(1).begin()
        with post(sidecar.url) as second:
            second.until_end()
            assert second.status == 409
            assert json.loads(second.body)["reason"] == "duplicate_request"
    assert feed.count == 1


def test_a_second_may_replace_the_first(keeping, feed):
    """One conversation, one generation."""
    sidecar = keeping('dedupe.second = "replace"\ndedupe.key = "json:/chat"')
    body = b'{"chat":"c1"}'
    with post(sidecar.url, body, None) as first:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 1)
        first.until_events(1)
        left = now_ms()
        with post(sidecar.url, body, None) as second:
            expect.soon_after(left, asked.wait_left())
            again = feed.request(2)
            again.begin()
            again.events(5, 5)
            again.end()
            assert second.until_end() == "clean"
            assert second.data == ["5"]
        first.until_end()
        assert first.data == ["1"]


@pytest.mark.parametrize(
    "has_head", [False, True], ids=["before the head", "in the stream"]
)
def test_a_retry_joins_what_its_first_try_began(keeping, feed, has_head):
    sidecar = keeping(JOIN)
    # One that is given no ids could not come back once it has the head, nor does any SDK try.
    accept = "text/event-stream" if has_head else "*/*"
    with post(sidecar.url, key=None, accept=accept) as first:
        asked = feed.request(1)
        if has_head:
            asked.begin()
            asked.events(1, 2)
            first.until_events(2)
        first.reset()
    wait_active(sidecar, 0)
    with post(sidecar.url, key=None, x_stainless_retry_count="1") as retry:
        if not has_head:
            wait_active(sidecar, 1)
            asked.begin()
            asked.events(1, 2)
        asked.events(3, 3)
        asked.end()
        assert retry.until_end() == "clean"
        assert retry.data == numbers(1, 3)
    assert feed.count == 1


def chunk(text: str | None) -> bytes:
    delta = {} if text is None else {"role": "assistant", "content": text}
    reason = "stop" if text is None else None
    choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
    model = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "mock",
    }
    return b"data: " + json.dumps(model | {"choices": choices}).encode() + b"\n\n"


def test_an_sdk_that_loses_patience_waits_in_the_same_place(keeping, feed):
    """The real SDK of OpenAI: its second try gets the answer to its first, for which the model had begun
    to think already."""
    sidecar = keeping(JOIN)
    options = {"api": "chat", "retries": 2, "timeout": 2}
    with (
        Hop(sidecar.port) as hop,
        Client("openai_python", hop.url, **options) as client,
    ):
        asked = feed.request(1)
        assert asked.fields["x-stainless-retry-count"] == "0"
        wait_for(lambda: b"retry-count: 1" in hop.asked, "the SDK tries again")
        asked.begin()
        for text in ("one ", "two ", None):
            asked.write(chunk(text))
        asked.write(b"data: [DONE]\n\n")
        asked.end()
        heard = client.until_end()
    contents = [
        json.loads(each.data)["choices"][0]["delta"].get("content")
        for each in heard.events
    ]
    assert contents == ["one ", "two ", None]
    assert feed.count == 1


def test_without_it_an_sdk_has_two_answered(keeping, feed):
    """The control: that is what a lost patience costs."""
    sidecar = keeping()
    options = {"api": "chat", "retries": 2, "timeout": 2}
    with Client("openai_python", sidecar.url, **options):
        feed.request(1).wait_left()
        assert feed.request(2).fields["x-stainless-retry-count"] == "1"
