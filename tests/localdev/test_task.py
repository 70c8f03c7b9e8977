"""The wrapper script `./task`: finds Python, makes the environment once, says what is missing."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from localdev.paths import ROOT

SHELL_TOOLS = ("bash", "env", "cat", "cmp", "dirname", "rm", "tail")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the wrapper, and a go-task that only tells what it was called with, as a wheel so that nothing is downloaded."""
    shutil.copy(ROOT / "task", tmp_path / "task")
    (tmp_path / "Taskfile.yml").touch()
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "requirements-dev.txt").write_text(f"{fake_go_task(tmp_path)}\n")
    return tmp_path


def fake_go_task(folder: Path) -> Path:
    """A wheel with one script."""
    files = {
        "fake_task-1.0.data/scripts/task": '#!/bin/sh\nprintf "%s\\n" "$@"\nexit ${FAKE_EXIT:-0}\n',
        "fake_task-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: fake-task\nVersion: 1.0\n",
        "fake_task-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {name: urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode() for name, text in files.items()}
    files["fake_task-1.0.dist-info/RECORD"] = "".join(f"{name},sha256={digest},{len(files[name])}\n" for name, digest in digests.items())
    wheel = folder / "fake_task-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, text)
    return wheel


def run(checkout: Path, *arguments: str, path: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The wrapper, from another folder."""
    env = {**os.environ, "PATH": path or f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment}
    return subprocess.run([str(checkout / "task"), *arguments], cwd="/", env=env, capture_output=True, text=True, timeout=120, check=False)


def commands(folder: Path, python: str) -> str:
    """A PATH with the shell's tools and that `python3` only."""
    tools = folder / "tools"
    tools.mkdir()
    for name in SHELL_TOOLS:
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    (tools / "python3").write_text(python)
    (tools / "python3").chmod(0o755)
    return str(tools)


def test_first_call_installs_and_later_ones_do_not(checkout: Path) -> None:
    """Arguments and exit code pass through; without arguments the tasks are listed; a changed requirements file is installed anew."""
    first = run(checkout, "logs", "--", "a b", FAKE_EXIT="7")
    where = ["--taskfile", f"{checkout}/Taskfile.yml", "--dir", str(checkout), "--exit-code"]
    assert first.stdout.splitlines() == [*where, "logs", "--", "a b"]
    assert first.returncode == 7
    assert "Installing Python packages" in first.stderr
    second = run(checkout)
    assert (second.stdout.splitlines(), second.stderr, second.returncode) == ([*where, "--list"], "", 0)
    (checkout / "requirements.txt").write_text("# changed\n")
    assert "Installing Python packages" in run(checkout).stderr


@pytest.mark.parametrize("python", [None, "#!/bin/sh\necho Python 3.99.1\n"], ids=["removed", "upgraded"])
def test_environment_whose_python_was_replaced_is_made_again(checkout: Path, python: str | None) -> None:
    """As when the system's was upgraded: the packages are another version's."""
    run(checkout)
    own = checkout / ".venv" / "bin" / "python"
    own.unlink()
    if python:
        own.write_text(python)
        own.chmod(0o755)
    repaired = run(checkout, FAKE_EXIT="7")
    assert "Installing Python packages" in repaired.stderr
    assert repaired.returncode == 7
    assert subprocess.run([own, "-c", "import pip"], check=False).returncode == 0
    assert run(checkout).stderr == ""


def test_calls_at_once_install_once(checkout: Path) -> None:
    """The others wait for the first and then go on."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    calls = [subprocess.Popen([str(checkout / "task"), "up"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ends = [(*call.communicate(timeout=120), call.returncode) for call in calls]
    assert [code for _, _, code in ends] == [0, 0, 0]
    assert sum("Installing Python packages" in errors for _, errors, _ in ends) == 1


def test_failed_installation_tells_the_remedy_and_is_repeated(checkout: Path) -> None:
    """With the last lines that pip wrote; the next call tries again."""
    good = (checkout / "requirements-dev.txt").read_text()
    (checkout / "requirements-dev.txt").write_text("/nowhere/at-all.whl\n")
    for _ in range(2):
        failed = run(checkout)
        assert failed.returncode == 1
        assert "/nowhere/at-all.whl" in failed.stderr
        assert "Installing failed; the whole log is" in failed.stderr
    (checkout / "requirements-dev.txt").write_text(good)
    assert run(checkout).returncode == 0


def test_old_python_is_named(checkout: Path) -> None:
    """With what is needed and how to get it."""
    path = commands(checkout, '#!/bin/sh\ncase "$1" in --version) echo "Python 3.8.1";; *) exit 1;; esac\n')
    refused = run(checkout, path=path)
    assert refused.returncode == 1
    assert "needs Python 3.11 or newer; found: Python 3.8.1" in refused.stderr
    assert "apt install python3 python3-venv" in refused.stderr


def test_python_without_venv_is_named(checkout: Path) -> None:
    """As Debian ships it."""
    path = commands(checkout, f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; *) exec {sys.executable} "$@";; esac\n')
    refused = run(checkout, path=path)
    assert refused.returncode == 1
    assert "apt install python3-venv" in refused.stderr
