"""Who has somebody else's cursor has nothing: not one byte, and no way to tell that it is one."""

import pytest

from harness import cursors
from harness.kept import lines, resumes, wait_line
from harness.reader import Reader
from harness.sidecar import Sidecar

SECRET = b"data: the secret of another\n\n"
MINE = {"Cookie": "sid=mine", "Authorization": "Bearer mine"}
OTHERS = {
    "another cookie": {**MINE, "Cookie": "sid=other"},
    "another token": {**MINE, "Authorization": "Bearer other"},
    "no cookie": {"Authorization": "Bearer mine"},
    "no token": {"Cookie": "sid=mine"},
    "another session": {**MINE, "Mcp_Session_Id": "other"},
    "nothing": {},
}
with_others = pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)


def begun(url: str, feed, body: bytes | None = None) -> str:
    """The cursor of my stream, which I have left, and which said more after that."""
    with Reader(url, body=body, **MINE) as reader:
        asked = feed.request(1)
        asked.begin("X-Secret: too")
        asked.events(1, 1)
        cursor = reader.until_events(1).cursor
        asked.write(SECRET)
        reader.until_events(2)
        reader.reset()
    return cursor


def answer(url: str, feed, cursor: str, other: dict, body: bytes | None) -> tuple:
    """What a client gets that comes with this cursor; of what can differ, nothing."""
    with Reader(url, cursor, body=body, **other) as reader:
        reader.until_end()
        changing = ("date", "x-request-id")
        fields = {
            name: value for name, value in reader.fields.items() if name not in changing
        }
        text = bytes(reader.body).replace(cursor.encode(), b"CURSOR")
        return reader.status, fields, text, reader.end


@with_others
@pytest.mark.parametrize("body", [None, b"{}"], ids=["GET", "POST"])
def test_the_answer_is_that_to_a_cursor_that_never_was(keeping, feed, other, body):
    sidecar = keeping()
    cursor = begun(sidecar.url, feed, body)
    feed.refuses = "418 A Teapot"
    foreign = answer(sidecar.url, feed, cursor, other, body)
    unknown = answer(sidecar.url, feed, cursors.unknown(cursor[1]), other, body)
    assert foreign == unknown
    assert b"secret" not in repr(foreign).encode()
    assert "x-secret" not in foreign[1]
    assert resumes(sidecar, "foreign") == 1
    assert resumes(sidecar, "unknown") == 1
    # What it was given is still there for who has begun it.
    with Reader(sidecar.url, cursor, body=body, **MINE) as mine:
        assert mine.until_events(1).data == ["the secret of another"]


def test_a_guess_of_the_token_is_unknown(keeping, feed):
    sidecar = keeping()
    cursor = begun(sidecar.url, feed)
    feed.refuses = "418 A Teapot"
    last = "B" if cursor[17] != "B" else "C"
    near = f"{cursor[:17]}{last}{cursor[18:]}"
    with Reader(sidecar.url, near, **MINE) as reader:
        assert reader.head().status == 418
    assert resumes(sidecar, "unknown") == 1


def test_only_the_named_cookie_counts(keeping, feed):
    """What analytics write beside it may change as it likes."""
    sidecar = keeping('resume.identity = ["cookie:sid"]')
    url = sidecar.url
    with Reader(url, Cookie="_ga=1; sid=mine") as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 2)
        reader.until_events(2)
        cursor = reader.events[0].id
        reader.reset()
    with Reader(
        url, cursor, Cookie="sid=mine; _ga=2", Authorization="Bearer new"
    ) as mine:
        assert mine.until_events(1).data == ["2"]
    feed.refuses = "418 A Teapot"
    for cookie in ("_ga=1; sid=other", "_ga=1", "xsid=mine"):
        with Reader(url, cursor, Cookie=cookie) as other:
            assert other.head().status == 418, cookie
    assert resumes(sidecar, "foreign") == 3


def test_without_any_credential_the_cursor_alone_counts(keeping, feed):
    url = keeping().url
    with Reader(url) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 2)
        reader.until_events(2)
        cursor = reader.events[0].id
        reader.reset()
    with Reader(url, cursor) as again:
        assert again.until_events(1).data == ["2"]


def test_a_stream_of_another_route_is_unknown(start, feed, proxied):
    routes = "\n".join(
        f'[[route]]\npath = "/{name}"\nresume.grace = "30s"' for name in ("one", "two")
    )
    sidecar = start(Sidecar, feed.url, routes)
    with Reader(f"{sidecar.url}/one") as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 2)
        reader.until_events(2)
        cursor = reader.events[0].id
        reader.reset()
    feed.refuses = "418 A Teapot"
    with Reader(f"{sidecar.url}/two", cursor) as other:
        assert other.head().status == 418
    with Reader(f"{sidecar.url}/one/other", cursor) as same:
        assert same.until_events(1).data == ["2"]


def test_the_log_tells_of_a_foreign_cursor_but_never_what_it_is(keeping, feed):
    sidecar = keeping()
    cursor = begun(sidecar.url, feed)
    feed.refuses = "418 A Teapot"
    with Reader(sidecar.url, cursor) as reader:
        reader.head()
    wait_line(sidecar, "stream left")
    log = sidecar.log()
    assert cursors.token(cursor) not in log
    assert "secret" not in log
    assert "mine" not in log
    assert lines(sidecar, "stream opened")
