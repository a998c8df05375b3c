"""PHP's FastCGI process manager with Debian's php.ini."""

from getpass import getuser
from pathlib import Path

from harness.ports import free_port
from harness.process import Server, tied_to_us

CONFIG = """
[global]
error_log = /dev/stderr
daemonize = no
[www]
user = {user}
listen = 127.0.0.1:{port}
pm = static
pm.max_children = 4
env[STATE_DIR] = {folder}
"""


class PhpFpm(Server):
    def __init__(self, folder: Path) -> None:
        port = free_port()
        config = folder / "php-fpm.conf"
        config.write_text(CONFIG.format(user=getuser(), port=port, folder=folder))
        # Its name has the version of PHP in it.
        program = max(Path("/usr/sbin").glob("php-fpm*"))
        server = (program, "--allow-to-run-as-root", "--fpm-config", config)
        argv = tied_to_us(*server, by="TERM")
        super().__init__("php_fpm", argv, port, folder / "php-fpm.log")
