"""Tomcat as Debian ships it, with a web application of one JSP."""

import shutil
from pathlib import Path

from harness.backends import FOLDER, Backend
from harness.process import tied_to_us

HOME = Path("/usr/share/tomcat10")
APPLICATION = FOLDER / "tomcat/application"
# Half of what it costs to start is compiling what runs only once.
QUICK = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]


class Tomcat(Backend):
    def command(self, name: str, port: int, folder: Path) -> list[str]:
        for inside in ("conf", "temp", "webapps"):
            (folder / inside).mkdir()
        shutil.copy(FOLDER / "tomcat/server.xml", folder / "conf")
        properties = {
            "catalina.home": HOME,
            "catalina.base": folder,
            "java.io.tmpdir": folder / "temp",
            "port": port,
            "application": APPLICATION,
        }
        jars = [HOME / "bin" / jar for jar in ("bootstrap.jar", "tomcat-juli.jar")]
        return tied_to_us(
            *("java", *QUICK, "-classpath", ":".join(map(str, jars))),
            *(f"-D{key}={value}" for key, value in properties.items()),
            *("org.apache.catalina.startup.Bootstrap", "start"),
        )
