"""A server in a process group of its own, which does not outlive the tests."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness import ports
from harness.waiting import wait_for

HERE = Path(__file__).parents[1]


def environment(**more: str) -> dict[str, str]:
    """Ours, but with nothing that redirects local requests or sets up a sidecar."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("SSE_SIDECAR_")
    }
    return ours | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"} | more


def tied_to_us(*argv: str | Path, by: str = "KILL") -> list[str]:
    """The command, ended by the kernel, by this signal, should this process be killed.

    A server that has processes of its own has to be asked, so that it ends them.
    """
    return ["setpriv", "--pdeathsig", by, "--", *map(str, argv)]


def python(*argv: str | Path) -> list[str]:
    return tied_to_us(sys.executable, *argv)


def node(*argv: str | Path) -> list[str]:
    return tied_to_us("node", *argv)


def kill_group(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


class Server:
    """A command that listens on `port`; started and waited for on creation."""

    def __init__(
        self,
        name: str,
        argv: list[str],
        port: int,
        log: Path,
        env: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        self._forgotten = 0
        self._argv, self._env = argv, env
        self._start()

    def _start(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._argv,
                cwd=HERE,
                env=environment(**(self._env or {})),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        name, port = self.name, self.port
        try:
            wait_for(self._is_up, f"{name} listens on port {port}", seconds=20)
        except Exception as error:
            self.stop()
            error.add_note(f"{' '.join(self._argv)}\n{self.log()}")
            raise

    def _is_up(self) -> bool:
        if self._process.poll() is not None:
            raise ChildProcessError(f"{self.name} ended: {self._process.returncode}")
        return ports.listening(self.port)

    @property
    def pid(self) -> int:
        return self._process.pid

    def log(self) -> str:
        """What it logged since `forget_log`, and whether it has ended."""
        logged = self._log.read_bytes()[self._forgotten :].decode(errors="replace")
        code = self._process.poll()
        return logged if code is None else f"{logged}ended: {code}\n"

    def forget_log(self) -> None:
        self._forgotten = self._log.stat().st_size

    def send(self, which: signal.Signals) -> None:
        self._process.send_signal(which)

    def restart(self, down_s: float = 0) -> None:
        """On the same port, so long after it was killed."""
        kill_group(self._process)
        time.sleep(down_s)
        self._start()

    def terminate(self) -> None:
        """Asks it to end, and does not wait."""
        self._process.terminate()

    def stop(self) -> None:
        kill_group(self._process)
