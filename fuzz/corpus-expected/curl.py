#!/usr/bin/env python3
"""Writes down what curl reads of each response here: the second block of NAME.expected.

    fuzz/corpus-expected/curl.py [NAME ...]

`tests/responses.rs` compares it with what the sidecar reads.
"""

import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

FOLDER = Path(__file__).parent
# What curl says of a body that breaks off: a partial file, and what it calls a failure to receive, such as a bad chunk.
CUT = {18, 56}


def escaped(data: bytes) -> str:
    """As `escape_ascii` of Rust has it."""
    special = {
        0x09: r"\t",
        0x0A: r"\n",
        0x0D: r"\r",
        0x22: r"\"",
        0x27: r"\'",
        0x5C: r"\\",
    }
    return "".join(
        special.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else rf"\x{byte:02x}")
        for byte in data
    )


def serve(listener: socket.socket, response: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(4096)
        connection.sendall(response)
        connection.shutdown(socket.SHUT_WR)
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass  # curl has seen enough


def ask(name: str, response: bytes) -> list[str]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        tempfile.NamedTemporaryFile() as body,
    ):
        server = threading.Thread(target=serve, args=(listener, response), daemon=True)
        server.start()
        port = listener.getsockname()[1]
        words = [
            "curl",
            "--silent",
            "--http1.1",
            "--noproxy",
            "*",
            "--max-time",
            "10",
            "--output",
            body.name,
        ]
        words += [
            "--write-out",
            "%{exitcode}\n%{http_code}\n%{errormsg}\n%{header_json}",
        ]
        if name.startswith("head-"):
            words.append("--head")
        said = subprocess.run(
            [*words, f"http://127.0.0.1:{port}/"], stdout=subprocess.PIPE, check=False
        ).stdout
        server.join(10)
        content = b"" if name.startswith("head-") else Path(body.name).read_bytes()
    code, status, error, headers = said.split(b"\n", 3)
    if int(code) not in CUT | {0}:
        return [f"refused: {error.decode()} ({int(code)})"]
    # curl 7.88 leaves the backslash out where it escapes a byte, and takes one beyond 0x7F for a negative number.
    headers = re.sub(rb"(?<!\\)u(?:00|ffffff)([0-9a-f]{2})", rb"\\u00\1", headers)
    fields = json.loads(headers.decode("latin-1"), strict=False)
    lines = [f"status: {int(status)}"]
    lines += sorted(
        f"field: {name}: {escaped(value.encode('latin-1'))}"
        for name, values in fields.items()
        for value in values
    )
    lines += [
        f"content: {escaped(content)}",
        f"end: {'cut' if int(code) in CUT else 'whole'}",
    ]
    return lines


def main() -> None:
    version = subprocess.run(
        ["curl", "--version"], stdout=subprocess.PIPE, check=True, text=True
    ).stdout.split()[1]
    for response in sorted(FOLDER.glob("*.http")):
        if sys.argv[1:] and response.stem not in sys.argv[1:]:
            continue
        expected = response.with_suffix(".expected")
        ours = (
            expected.read_text().split("\n\n")[0].rstrip("\n")
            if expected.exists()
            else ""
        )
        curl = [f"curl: {version}", *ask(response.stem, response.read_bytes())]
        expected.write_text("\n".join([ours, "", *curl]) + "\n")


main()
