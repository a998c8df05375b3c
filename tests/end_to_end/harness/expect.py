"""What the tests expect of a stream that was heard."""

import json

from harness.clients import Event, Heard


def sent_at(event: Event) -> float:
    """The moment the backend wrote the event, which the event itself carries."""
    return json.loads(event.data)["sent"]


def one_by_one(heard: Heard, count: int, gap_ms: float) -> None:
    """Events were heard as they were written, not as a burst and not one late.

    A third of them have to come within half a gap: a hop that holds each event until
    the next one passes none but the last in time, while a busy machine, or an SDK that
    is still loading itself, is late with some.
    """
    assert len(heard.events) == count, heard
    late = [round(event.at - sent_at(event)) for event in heard.events]
    spread = heard.events[-1].at - heard.events[0].at
    assert spread > 0.5 * (count - 1) * gap_ms, f"heard as a burst: {late=}"
    prompt = [each for each in late if each < gap_ms / 2]
    assert len(prompt) >= count / 3, f"heard late: {late=}"


def at_once(heard: Heard) -> None:
    """The first event was heard soon after the request.

    Not for the SDKs: some load half of themselves between the two.
    """
    waited = round(heard.events[0].at - heard.asked)
    assert waited < 1000, f"the first event came {waited} ms after the request"


def a_burst(heard: Heard, count: int, gap_ms: float) -> None:
    """Two thirds of the events or more were heard at once (for the controls)."""
    assert len(heard.events) == count, heard
    last = heard.events[-1].at
    together = [event for event in heard.events if last - event.at < 50]
    assert len(together) >= count * 2 / 3, heard


def soon_after(left: float, aborted: float) -> None:
    """The backend missed its client within a second."""
    # A millisecond of grace: the two clocks are rounded differently.
    assert -1 <= aborted - left < 1000, f"missed {aborted - left:.0f} ms later"
