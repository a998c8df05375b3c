"""Hops that do something to an event stream, as their makers ship them."""

from pathlib import Path

from harness.apache import MODULES, apache
from harness.ports import free_port
from harness.process import HERE, Server, python, tied_to_us
from harness.sidecar import binary

TOKEN = "the-token-of-these-tests"

NGINX = """
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
            {settings}
        }}
    }}
}}
"""
# What nginx needs to be a good hop.
TUNED = 'proxy_buffering off; proxy_http_version 1.1; proxy_set_header Connection "";'

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server {settings}
listen hop
    bind 127.0.0.1:{port}
    server backend {host}
"""

APACHE = """
LoadModule proxy_module {MODULES}/mod_proxy.so
LoadModule proxy_http_module {MODULES}/mod_proxy_http.so
LoadModule filter_module {MODULES}/mod_filter.so
LoadModule deflate_module {MODULES}/mod_deflate.so
ProxyPass / {upstream}/ timeout=3600
{settings}
"""

CADDY = """
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    {settings}
    reverse_proxy {upstream}
}}
"""

ENVOY = """
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: hop
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster: backend{settings} }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: backend
    type: STATIC
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {upstream_port} }} }} }}
"""


class Origin(Server):
    """The end of a chain: a probe, and nothing else."""

    def __init__(self, folder: Path, _name: str) -> None:
        port = free_port()
        serve = ("doctor", "--serve", f"127.0.0.1:{port}", "--probe", TOKEN)
        super().__init__("origin", tied_to_us(binary(), *serve), port, folder / "log")


def nginx(folder: Path, port: int, upstream: str, settings: str) -> list[str]:
    config = folder / "nginx.conf"
    text = NGINX.format(folder=folder, port=port, upstream=upstream, settings=settings)
    config.write_text(text)
    return tied_to_us("/usr/sbin/nginx", "-c", config, "-p", folder)


def haproxy(folder: Path, port: int, upstream: str, settings: str) -> list[str]:
    config = folder / "haproxy.cfg"
    host = upstream.removeprefix("http://")
    config.write_text(HAPROXY.format(port=port, host=host, settings=settings))
    return tied_to_us("/usr/sbin/haproxy", "-db", "-f", config)


def httpd(folder: Path, port: int, upstream: str, settings: str) -> list[str]:
    settings = APACHE.format(MODULES=MODULES, upstream=upstream, settings=settings)
    return apache(folder, port, settings)


def caddy(folder: Path, port: int, upstream: str, settings: str) -> list[str]:
    config = folder / "Caddyfile"
    config.write_text(CADDY.format(port=port, upstream=upstream, settings=settings))
    return tied_to_us("caddy", "run", "--config", config, "--adapter", "caddyfile")


def envoy(folder: Path, port: int, upstream: str, settings: str) -> list[str]:
    config = folder / "envoy.yaml"
    upstream_port = upstream.rsplit(":", 1)[1]
    text = ENVOY.format(port=port, upstream_port=upstream_port, settings=settings)
    config.write_text(text)
    options = ("--concurrency", "1", "--log-level", "error", "--disable-hot-restart")
    found = HERE / ".cache/venv/bin/envoy"
    return tied_to_us(found, "-c", config, *options, by="TERM")


def faulty(folder: Path, port: int, upstream: str, settings: str) -> list[str]:
    options = (str(port), upstream.rsplit(":", 1)[1], settings)
    return python(HERE / "hops/faulty.py", *options)


# Each by its program and its settings.
HOPS = {
    "nginx": (nginx, ""),
    "nginx_tuned": (nginx, TUNED),
    "nginx_gzip": (
        nginx,
        f"{TUNED} gzip on; gzip_types text/event-stream; gzip_min_length 1;",
    ),
    "nginx_timeout": (nginx, f"{TUNED} proxy_read_timeout 3s;"),
    "haproxy": (haproxy, "1h"),
    "haproxy_tuned": (haproxy, "1h\n    option abortonclose"),
    "haproxy_timeout": (haproxy, "3s"),
    "apache": (httpd, ""),
    "apache_deflate": (httpd, "AddOutputFilterByType DEFLATE text/event-stream"),
    "caddy": (caddy, ""),
    "caddy_encode": (caddy, "encode gzip"),
    "envoy": (envoy, ", timeout: 0s"),
    "envoy_timeout": (envoy, ""),
    "ignores_disconnect": (faulty, "ignores_disconnect"),
    "strips_comments": (faulty, "strips_comments"),
    "http10": (faulty, "nothing"),
}


class Hop(Server):
    """The hop `name` in front of `upstream`."""

    def __init__(self, folder: Path, name: str, upstream: str) -> None:
        folder.chmod(0o755)
        command, settings = HOPS[name]
        port = free_port()
        argv = command(folder, port, upstream, settings)
        super().__init__(name, argv, port, folder / "log")
