"""An nginx of its own, as Debian ships it: with a site file, or with `proxy_pass` and
nothing else, or one directive more."""

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
    include {folder}/site.conf;
}}
"""

BARE = """
server {{
    listen 127.0.0.1:PORT;
    location / {{
        proxy_pass {upstream};
        {more}
    }}
}}
"""


class SiteNginx(Server):
    """With this site file, in which `PORT` is its port."""

    def __init__(self, folder: Path, site: str) -> None:
        port = free_port()
        config = folder / "nginx.conf"
        config.write_text(CONFIG.format(folder=folder))
        (folder / "site.conf").write_text(site.replace("PORT", str(port)))
        argv = tied_to_us("/usr/sbin/nginx", "-c", config, "-p", folder)
        super().__init__("nginx", argv, port, folder / "log")


class Nginx(SiteNginx):
    """With a `proxy_pass`."""

    def __init__(self, folder: Path, upstream: str, more: str = "") -> None:
        super().__init__(folder, BARE.format(upstream=upstream, more=more))
