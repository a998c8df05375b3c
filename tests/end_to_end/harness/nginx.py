"""An nginx of its own, as Debian ships it, with `proxy_pass` and nothing else, or one
directive more."""

from pathlib import Path

from harness.ports import free_port
from harness.process import Server, tied_to_us

CONFIG = """
daemon off;
pid {folder}/pid;
error_log stderr;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {upstream};
            {more}
        }}
    }}
}}
"""


class Nginx(Server):
    def __init__(self, folder: Path, upstream: str, more: str = "") -> None:
        port = free_port()
        config = folder / "nginx.conf"
        names = {"folder": folder, "port": port, "upstream": upstream, "more": more}
        config.write_text(CONFIG.format(**names))
        argv = tied_to_us("/usr/sbin/nginx", "-c", config, "-p", folder)
        super().__init__("nginx", argv, port, folder / "log")
