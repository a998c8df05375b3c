"""From measurements to a table."""

import os
import platform
import subprocess
from datetime import date
from pathlib import Path
from statistics import median

from harness.proxies import NAMES
from harness.rows import Figure, Row
from harness.tools import Failed, program, sidecar

# For each proxy what it did in each repetition.
Results = dict[str, list[dict[str, float] | Failed]]


def line(figure: Figure, results: Results) -> dict[str, object]:
    """One line: the median of each proxy, and of the ratios of each repetition."""
    values = {name: series(figure, name, results) for name in NAMES}
    peers = list(zip(values["nginx"], values["HAProxy"], strict=True))
    best = [better(figure, pair) for pair in peers]
    ratios = [
        ours / theirs
        for ours, theirs in zip(values["sidecar"], best, strict=True)
        if figure.compared and ours is not None and theirs and ours > 0 and theirs > 0
    ]
    middle = {name: middle_of(values[name]) for name in NAMES}
    return {"title": figure.title, **middle, "ratio": middle_of(ratios)}


def series(figure: Figure, name: str, results: Results) -> list[float | None]:
    """The figure in each repetition; nothing where it failed."""
    found: list[float | None] = []
    for turn, result in enumerate(results[name]):
        direct = results["direct"][turn] if figure.added else {figure.key: 0}
        if isinstance(result, Failed) or isinstance(direct, Failed):
            found.append(None)
        else:
            found.append((result[figure.key] - direct[figure.key]) / figure.per_unit)
    return found


def better(figure: Figure, pair: tuple[float | None, ...]) -> float | None:
    worked = [value for value in pair if value is not None]
    if not worked:
        return None
    return max(worked) if figure.more_is_better else min(worked)


def middle_of(values: list[float | None]) -> float | None:
    """The median; nothing if one failed."""
    return None if None in values or not values else median(values)


def table(rows: list[Row], results: dict[str, Results]) -> tuple[str, list[dict]]:
    lines = [line(it, results[row.name]) for row in rows for it in row.figures]
    text = ["| | nginx | HAProxy | sidecar | ratio |", "|---|--:|--:|--:|--:|"]
    for one in lines:
        cells = [short(one[name]) for name in NAMES]
        ratio = "" if one["ratio"] is None else f"**{one['ratio']:.2f}**"
        text.append(" | ".join([f"| {one['title']}", *cells, f"{ratio} |"]))
    failures = {
        f"{row.name}, {name}: {result}"
        for row in rows
        for name, series in results[row.name].items()
        for result in series
        if isinstance(result, Failed)
    }
    return "\n".join(text + [""] * bool(failures) + sorted(failures)), lines


def short(value: float | None) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return "failed"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def circumstances() -> dict[str, str]:
    """Where, when and with what."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in info("/proc/cpuinfo")
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} × {cpu}, Linux {platform.release()}",
        "load average at the start": f"{os.getloadavg()[0]:.1f}",
        "nginx": version("nginx", "-v").rpartition("/")[2],
        "HAProxy": version("haproxy", "-v").split()[2],
        "sidecar": subprocess.run(
            ["git", "-C", sidecar().parent, "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip(),
    }


def info(file: str) -> list[str]:
    return Path(file).read_text().splitlines()


def version(name: str, flag: str) -> str:
    done = subprocess.run(
        [program(name), flag], capture_output=True, text=True, check=True
    )
    return (done.stdout + done.stderr).splitlines()[0]
