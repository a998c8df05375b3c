"""curl, and the few lines with which a script would read what it prints."""

import os
import subprocess

import report

headers = report.options.get("headers", {"Accept": "text/event-stream"})
command = ["curl", "--silent", "--show-error", "--fail", "--no-buffer"]
for name, value in headers.items():
    command += ["--header", f"{name}: {value}"]
command += report.options.get("arguments", [])

report.asked()
curl = subprocess.Popen([*command, report.options["url"]], stdout=subprocess.PIPE)
buffer, id = b"", ""
while chunk := os.read(curl.stdout.fileno(), 65536):
    *blocks, buffer = (buffer + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
    for block in blocks:
        lines = [line for line in block.decode().split("\n") if line[:1] != ":"]
        fields = [line.split(": ", 1) for line in lines]
        id = next((value for name, value in fields if name == "id"), id)
        data = [value for name, value in fields if name == "data"]
        if data and report.event("\n".join(data), id=id):
            report.leave(curl.terminate)
if curl.wait() == 0:
    report.ended()
else:
    report.say(failed=f"curl: {curl.returncode}")
