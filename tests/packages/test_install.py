"""The package installed, upgraded, removed and purged by dpkg."""

from threading import Thread

from harness.backend import open_stream

# As an administrator would have it, with a drain that begins at once.
CHANGED = '[drain]\ndelay = "off"\n'


def change_config(system) -> str:
    """The installed configuration with something of the administrator's."""
    text = system.config.read_text() + CHANGED
    system.config.write_text(text)
    return text


def restart(system) -> None:
    """As an administrator, or a boot, does it."""
    system.manager.stop()
    system.manager.start()


def test_what_is_installed_runs_with_the_configuration_that_is_installed(
    system, backend, package
):
    system.dpkg("--install", str(package))
    assert system.state().startswith("install ok installed ")
    assert system.enabled.is_symlink()
    assert system.manager.asked[-1] == "start"
    assert open_stream("/").read() == b""
    assert system.tree()["etc/sse-sidecar/config.toml"] == "100644 0:0"


def test_an_upgrade_drains_the_old_process_and_starts_the_new(
    system, backend, package, next_package
):
    system.dpkg("--install", str(package))
    change_config(system)
    restart(system)
    stream = open_stream("/wait")
    system.manager.stopping.clear()

    upgrade = Thread(
        target=system.dpkg, args=("--force-confold", "--install", str(next_package))
    )
    upgrade.start()
    assert system.manager.stopping.wait(30)
    assert system.manager.executable().endswith(" (deleted)"), "the old one drains"
    backend.finish.set()
    assert stream.read() == b"data: last\n\n"
    upgrade.join()
    assert system.state() == "install ok installed 99.0.0-1"
    assert system.manager.exits[-1] == 0, "nothing was aborted"
    assert system.manager.executable() == str(system.root / "usr/bin/sse-sidecar")
    open_stream("/")


def test_an_upgrade_keeps_a_changed_configuration_and_replaces_an_unchanged_one(
    system, package, next_package
):
    system.dpkg("--install", str(package))
    system.manager.stop()
    system.dpkg("--install", str(next_package))
    shipped = system.config.read_text()
    assert shipped.endswith('level = "debug"\n')

    system.manager.stop()
    changed = change_config(system)
    system.dpkg("--force-downgrade", "--force-confold", "--install", str(package))
    assert system.config.read_text() == changed
    offered = system.config.with_suffix(".toml.dpkg-dist")
    assert offered.read_text() + '\n[log]\nlevel = "debug"\n' == shipped


def test_an_upgrade_whose_configuration_is_refused_ends_no_stream(
    system, backend, package, next_package
):
    system.dpkg("--install", str(package))
    stream = open_stream("/wait")
    # As a key would be that the new version does not have.
    system.config.write_text(system.config.read_text() + "unknown = 1\n")
    said = system.dpkg("--force-confold", "--install", str(next_package))
    assert "unknown" in said and "systemctl restart sse-sidecar" in said
    assert system.state() == "install ok installed 99.0.0-1"
    assert system.manager.exits == []
    backend.finish.set()
    assert stream.read() == b"data: last\n\n"


def test_what_an_administrator_has_disabled_stays_so(system, package, next_package):
    system.dpkg("--install", str(package))
    system.manager.stop()
    system.enabled.unlink()
    system.dpkg("--install", str(next_package))
    assert not system.enabled.is_symlink()
    assert not system.manager.is_active()


def test_nothing_is_started_where_systemd_does_not_run(system, package):
    # As in a container's image that is being built.
    (system.root / "run/systemd/system").rmdir()
    (system.root / "usr/bin/systemctl").unlink()
    system.dpkg("--install", str(package))
    assert system.enabled.is_symlink(), "a boot would start it"
    system.dpkg("--purge", "sse-sidecar")
    assert system.manager.asked == []


def test_removed_it_leaves_the_configuration_and_purged_nothing(
    system, backend, package
):
    before = system.tree()
    system.dpkg("--install", str(package))
    changed = change_config(system)
    restart(system)
    stream = open_stream("/wait")
    system.manager.stopping.clear()

    removal = Thread(target=system.dpkg, args=("--remove", "sse-sidecar"))
    removal.start()
    assert system.manager.stopping.wait(30)
    backend.finish.set()
    assert stream.read() == b"data: last\n\n"
    removal.join()
    assert system.manager.exits[-1] == 0, "nothing was aborted"
    assert not system.manager.is_active()
    assert not (system.root / "usr/bin/sse-sidecar").exists()
    assert system.config.read_text() == changed

    # Installed again it runs as before.
    system.dpkg("--force-confold", "--install", str(package))
    open_stream("/")
    system.dpkg("--purge", "sse-sidecar")
    left = {path for path in system.tree() if path not in before}
    assert {path for path in left if "sse-sidecar" in path} == set()
