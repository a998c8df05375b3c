"""What a client says on its standard output; see harness/clients.py."""

import json
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

options: dict[str, Any] = json.loads(sys.argv[1])
_heard = 0


def now() -> float:
    return time.time() * 1000


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def asked() -> None:
    say(asked=now())


def event(data: str, type: str = "message", id: str = "") -> bool:
    """Returns true when it is time to leave."""
    global _heard
    say(at=now(), type=type, id=id, data=data)
    _heard += 1
    return _heard == options.get("leave_after")


def ended() -> None:
    say(ended=now())


def failed(_: type[BaseException], error: BaseException, __: Any) -> None:
    say(failed="".join(traceback.format_exception(error)))


sys.excepthook = failed


def leave(close: Callable[[], None]) -> None:
    """Leaves by calling `close`, and lives on until the driver has seen enough."""
    at = now()
    close()
    say(left=at)
    sys.stdin.read()
    sys.exit()
