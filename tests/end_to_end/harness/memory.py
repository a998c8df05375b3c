"""How much memory a process has at the most while something goes on."""

import re
import threading
from pathlib import Path
from typing import Self


class Peak:
    """Looks every few milliseconds; only a look can miss a short peak."""

    def __init__(self, pid: int) -> None:
        self._rollup = Path(f"/proc/{pid}/smaps_rollup")
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self.mib = 0.0

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            pss = re.search(r"^Pss:\s+(\d+) kB", self._rollup.read_text(), re.MULTILINE)
            self.mib = max(self.mib, int(pss[1]) / 1024)
