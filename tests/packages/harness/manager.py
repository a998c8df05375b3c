"""What systemd would do when the maintainer scripts ask: a container has none."""

import os
import signal
import socket
import subprocess
from pathlib import Path
from threading import Event, Thread

SERVICE = "sse-sidecar.service"


class Manager:
    """Runs the installed unit's `ExecStart`, until it is ready as `Type=notify` says and as a user without rights, and stops it.

    The stand-in of systemctl writes what it is called with to one FIFO and reads the answer from another.
    """

    def __init__(self, root: Path):
        self.root = root
        self.enabled = root / f"etc/systemd/system/multi-user.target.wants/{SERVICE}"
        self.process: subprocess.Popen | None = None
        self.asked: list[str] = []
        self.exits: list[int] = []
        self.stopping = Event()
        self.request = root / "run/systemd/request"
        self.reply = root / "run/systemd/reply"
        os.mkfifo(self.request)
        os.mkfifo(self.reply)
        self.thread = Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while (request := self.request.read_text().split()) != ["quit"]:
            action, *_units = [word for word in request if not word.startswith("--")]
            try:
                answer = self._do(action, request)
            except Exception as error:  # the script is told, and the test
                answer = f"1 {error}"
            self.reply.write_text(f"{answer}\n")

    def _do(self, action: str, request: list[str]) -> str:
        self.asked.append(action)
        match action:
            case "daemon-reload":
                return "0"
            case "preset":
                # What the real one does needs no running systemd: a link, unless the distribution's presets forbid it.
                words = [word for word in request if not word.startswith("--root=")]
                command = ["systemctl", f"--root={self.root}", *words]
                return f"{subprocess.run(command).returncode}"
            case "is-enabled":
                return "0 enabled" if self.enabled.is_symlink() else "1 disabled"
            case "is-active":
                return "0" if self.is_active() else "3"
            case "start":
                if not self.is_active():
                    self.start()
                return "0"
            case "stop":
                self.stop()
                return "0"
            case "restart":
                self.stop()
                self.start()
                return "0"
        raise ValueError(f"not expected: {action}")

    def is_active(self) -> bool:
        """Whether the service runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """As the unit says; returns when it is ready."""
        unit = (self.root / "usr/lib/systemd/system" / SERVICE).read_text()
        assert "\nType=notify\n" in unit and "\nDynamicUser=yes\n" in unit
        [line] = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
        command = line.removeprefix("ExecStart=").split()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            notices.bind(f"\0sse-sidecar-packages-{os.getpid()}")
            notices.settimeout(10)
            self.process = subprocess.Popen(
                ["/usr/sbin/chroot", "--userspec=65534:65534", str(self.root), *command],
                env={"NOTIFY_SOCKET": f"@sse-sidecar-packages-{os.getpid()}"},
                stderr=(self.root / "run/log").open("ab"),
            )
            while "READY=1" not in notices.recv(4096).decode().splitlines():
                pass

    def stop(self) -> None:
        """SIGTERM, and to its end."""
        if self.is_active():
            self.process.send_signal(signal.SIGTERM)
            self.stopping.set()
        if self.process:
            self.exits.append(self.process.wait(60))
            self.process = None

    def executable(self) -> str:
        """The file that runs, as its file system has it: of a replaced one the kernel adds "(deleted)"."""
        return os.readlink(f"/proc/{self.process.pid}/exe")

    def close(self) -> None:
        """Ends everything."""
        if self.is_active():
            self.process.kill()
            self.process.wait()
        self.request.write_text("quit\n")
        self.thread.join()
