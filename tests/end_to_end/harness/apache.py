"""Apache with the modules it needs and no other setting than it must have."""

from pathlib import Path
from tempfile import TemporaryDirectory

from harness.backends import FOLDER, Backend
from harness.cgi import Cgi, site
from harness.php_fpm import PhpFpm
from harness.process import tied_to_us

MODULES = "/usr/lib/apache2/modules"
# A superuser gives up his rights for those of www-data.
CONFIG = """
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ServerName localhost
Listen 127.0.0.1:{port}
ErrorLog /dev/stderr
User www-data
Group www-data
LoadModule mpm_event_module {MODULES}/mod_mpm_event.so
LoadModule authz_core_module {MODULES}/mod_authz_core.so
{settings}
"""
CGI = """
LoadModule alias_module {MODULES}/mod_alias.so
LoadModule env_module {MODULES}/mod_env.so
LoadModule cgid_module {MODULES}/mod_cgid.so
ScriptSock {folder}/cgid
DocumentRoot {root}
ScriptAlias /cgi-bin/ {root}/cgi-bin/
SetEnv STATE_DIR {state}
"""
# Without `flushpackets`, Apache holds events until it has 8 KiB of them.
FPM = """
LoadModule proxy_module {MODULES}/mod_proxy.so
LoadModule proxy_fcgi_module {MODULES}/mod_proxy_fcgi.so
ProxyPassMatch ^/ {fpm}{router} flushpackets=on
"""


def apache(folder: Path, port: int, settings: str) -> list[str]:
    config = folder / "httpd.conf"
    config.write_text(
        CONFIG.format(MODULES=MODULES, folder=folder, port=port, settings=settings)
    )
    server = ("/usr/sbin/apache2", "-D", "FOREGROUND", "-f", config)
    return tied_to_us(*server, by="TERM")


class ApacheCgi(Cgi):
    def __init__(self, folder: Path, name: str) -> None:
        # The folders of pytest are closed to www-data, as whom the scripts run.
        self._open = TemporaryDirectory(prefix="apache-")
        super().__init__(folder, name)

    def command(self, name: str, port: int, folder: Path) -> list[str]:
        ours = Path(self._open.name)
        ours.chmod(0o755)
        state = ours / "state"
        state.mkdir()
        state.chmod(0o777)
        settings = CGI.format(
            MODULES=MODULES, folder=ours, root=site(ours), state=state
        )
        return apache(ours, port, settings)

    def _is_up(self) -> bool:
        # Until the process that starts the scripts listens, too, Apache says 503.
        return super()._is_up() and any(Path(self._open.name).glob("cgid.*"))

    def stop(self) -> None:
        super().stop()
        self._open.cleanup()


class ApacheFpm(Backend):
    def __init__(self, folder: Path, name: str) -> None:
        self._fpm = PhpFpm(folder)
        super().__init__(folder, name)

    def command(self, name: str, port: int, folder: Path) -> list[str]:
        fpm = self._fpm.url.replace("http", "fcgi")
        router = FOLDER / "php/router.php"
        settings = FPM.format(MODULES=MODULES, fpm=fpm, router=router)
        return apache(folder, port, settings)

    def stop(self) -> None:
        super().stop()
        self._fpm.stop()
