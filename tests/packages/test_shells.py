"""What the shells themselves make of the completions, and man of the pages."""

import os
import subprocess
from pathlib import Path

import pytest

PAGES = Path(os.environ["SSE_SIDECAR_PAGES"])
COMMANDS = {"run", "check", "demo", "doctor", "health", "import-nginx"}
FLAGS = {"--config", "--listen", "--upstream", "--admin", "--help"}


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def bash(words: str) -> set[str]:
    """What bash offers for the last of the words."""
    complete = f"""
        source {PAGES}/sse-sidecar.bash
        COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        function=$(complete -p sse-sidecar | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
        "$function" sse-sidecar "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD - 1]}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return set(output("bash", "--norc", "-c", complete).split())


def fish(words: str) -> set[str]:
    """What fish offers for the last of the words."""
    line = words.replace("''", "")
    complete = f'source {PAGES}/sse-sidecar.fish; complete -C "{line}"'
    offered = output("fish", "--no-config", "-c", complete).splitlines()
    return {line.split("\t")[0] for line in offered}


@pytest.mark.parametrize("shell", [bash, fish])
def test_it_completes_commands_and_flags(shell):
    assert shell("sse-sidecar ''") >= COMMANDS
    assert shell("sse-sidecar check --") >= FLAGS
    assert "--upstream" not in shell("sse-sidecar health --")
    assert "--port" in shell("sse-sidecar demo --")


def test_zsh_takes_its_completions():
    define = "autoload -Uz compinit; compinit -u -D"
    script = f"fpath=({PAGES} $fpath); {define}; print $_comps[sse-sidecar]; zsh -n {PAGES}/_sse-sidecar"
    assert output("zsh", "--no-rcs", "-c", script) == "_sse-sidecar\n"


def test_man_shows_every_page_without_a_warning():
    pages = sorted(PAGES.glob("*.1"))
    assert {page.stem for page in pages} > {f"sse-sidecar-{name}" for name in COMMANDS}
    for page in pages:
        done = subprocess.run(
            ["man", "--warnings", "--local-file", str(page)],
            env={**os.environ, "MANPAGER": "cat", "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "SYNOPSIS" in done.stdout
