"""The backends: how each is started, and what it says of a stream it served."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import quote
from urllib.request import urlopen

from harness.certificate import certificate
from harness.curl import curl
from harness.ports import free_port
from harness.process import HERE, Server, node, python, tied_to_us
from harness.waiting import wait_for

FOLDER = HERE / "backends"


def express(port: int) -> list[str]:
    return node(FOLDER / "express/server.mjs", str(port))


def llm(port: int) -> list[str]:
    return node(FOLDER / "llm_mock.mjs", str(port))


def gunicorn(port: int, app: str, *options: str) -> list[str]:
    folder = ("--chdir", FOLDER, "--bind", f"127.0.0.1:{port}")
    return python("-m", "gunicorn", *folder, "--no-control-socket", *options, app)


def flask(port: int) -> list[str]:
    return gunicorn(port, "flask_app:app", "--worker-class", "gevent")


def django(port: int) -> list[str]:
    return gunicorn(port, "django_app", "--threads", "16")


def gunicorn_sync(port: int) -> list[str]:
    return gunicorn(port, "wsgi_app")


def gunicorn_gthread(port: int) -> list[str]:
    return gunicorn(port, "wsgi_app", "--threads", "8", "--access-logfile", "-")


def uwsgi(port: int) -> list[str]:
    app = ("--chdir", FOLDER, "--wsgi-file", "wsgi_app.py")
    return tied_to_us("uwsgi_python3", "--http-socket", f"127.0.0.1:{port}", *app)


def fastapi(port: int) -> list[str]:
    app = ("fastapi_app:app", "--app-dir", FOLDER)
    return python("-m", "uvicorn", *app, "--port", str(port), "--no-access-log")


def php(port: int) -> list[str]:
    compressed = ("-d", "zlib.output_compression=On")
    router = FOLDER / "php/router.php"
    return tied_to_us("php", *compressed, "-S", f"127.0.0.1:{port}", router)


def http_server(port: int) -> list[str]:
    return python(FOLDER / "http_server.py", str(port))


def ssestream(port: int) -> list[str]:
    return node(FOLDER / "ssestream.mjs", str(port))


def files(port: int) -> list[str]:
    return node(FOLDER / "files.mjs", str(port))


def http2_node(port: int) -> list[str]:
    files = certificate().chain, certificate().private_key
    return node(FOLDER / "http2_node.mjs", str(port), *files)


def ntlm_node(port: int) -> list[str]:
    return node(FOLDER / "ntlm_node.mjs", str(port))


def mcp_node(port: int) -> list[str]:
    return node(FOLDER / "mcp_node.mjs", str(port))


def mcp_python(port: int) -> list[str]:
    return python(FOLDER / "mcp_python.py", str(port))


def mcp_node_forgetful(port: int) -> list[str]:
    return [*mcp_node(port), "forgetful"]


def mcp_python_forgetful(port: int) -> list[str]:
    return [*mcp_python(port), "forgetful"]


def websocket_node(port: int) -> list[str]:
    return node(FOLDER / "websocket_node.mjs", str(port))


def websocket_python(port: int) -> list[str]:
    return python(FOLDER / "websocket_python.py", str(port))


COMMANDS: dict[str, Callable[[int], list[str]]] = {
    command.__name__: command
    for command in (
        *(express, flask, django, fastapi, php, http_server),
        *(
            files,
            http2_node,
            llm,
            mcp_node,
            mcp_node_forgetful,
            mcp_python,
            mcp_python_forgetful,
            ntlm_node,
            websocket_node,
            websocket_python,
        ),
        *(gunicorn_sync, gunicorn_gthread, uwsgi, ssestream),
    )
}
# All that serve the same routes; the others have routes of their own.
ORDINARY = ["express", "flask", "django", "fastapi", "php", "http_server"]
# Those that take longest to start come first in each list of a test, so that pytest,
# which sorts by the place in the list, puts all tests of one together.
LEGACY = [
    *("tomcat", "apache_cgi", "ssestream", "php_fpm"),
    *("gunicorn_sync", "gunicorn_gthread", "uwsgi", "http_server", "busybox"),
]


def grpc_call(url: str, method: str, message: bytes) -> bytes:
    """One call, without a library that would not bear the forks of the tests."""
    head = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    framed = b"\0" + len(message).to_bytes(4) + message
    with TemporaryFile() as body:
        body.write(framed)
        body.seek(0)
        target = f"{url}/test.Service/{method}"
        options = ["--http2-prior-knowledge", "--data-binary", "@-", *head]
        return curl(*options, target, stdin=body).body[5:]


class Backend(Server):
    """A command from the list, on a port."""

    def __init__(self, folder: Path, name: str) -> None:
        self.protocol = "h2c" if name == "grpc_python" else "http"
        port = free_port()
        argv = self.command(name, port, folder)
        env = {"PHP_CLI_SERVER_WORKERS": "8", "STATE_DIR": str(folder)}
        super().__init__(name, argv, port, folder / "log", env)
        try:
            # gunicorn listens before its worker has loaded the application.
            self.probe("the first request")
        except Exception:
            self.stop()
            raise

    def command(self, name: str, port: int, folder: Path) -> list[str]:
        return COMMANDS[name](port)

    def route(self, path: str) -> str:
        """Where it serves what most others serve at `path`."""
        return path

    def probe(self, key: str) -> dict[str, float | None]:
        """When it opened the stream `key`, and when it missed its client."""
        if self.protocol == "h2c":
            return json.loads(grpc_call(self.url, "probe", key.encode()))
        url = self.url + self.route("/probe")
        with urlopen(f"{url}?key={quote(key)}", timeout=20) as answer:
            return json.load(answer)

    def wait_aborted(self, key: str) -> float:
        what = f"{self.name} misses the client of stream {key}"
        return wait_for(lambda: self.probe(key)["aborted"], what)

    def wait_opened(self, key: str) -> float:
        what = f"{self.name} sees stream {key}"
        return wait_for(lambda: self.probe(key)["opened"], what)


class GrpcPython(Backend):
    """It has a Unix socket besides."""

    def command(self, name: str, port: int, folder: Path) -> list[str]:
        self.socket = folder / "socket"
        return python(FOLDER / "grpc_python.py", str(port), self.socket)
