"""scripts/demo and scripts/test up to where the installation is done, on machines that lack something.

The scripts are the real ones, in a checkout of their own; Python, pip and what they find of the machine are programs on
PATH that behave as told. Nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]

PYTHON = f"""#!/bin/sh
# A Python: $VERSION, $BITS bits, $LIBC; its `-m venv` makes an environment with the program below
case "$*" in
"-c "*version_info*) exec {sys.executable} -c "import sys; sys.version_info = *map(int, '$VERSION'.split('.')),; $2" ;;
"-c "*calcsize*) [ "${{BITS:-64}}" = 64 ] ;;
"-c "*musl*) [ "${{LIBC:-glibc}}" != musl ] ;;
"-c "*ensurepip*) [ -z "${{NO_VENV:-}}" ] ;;
"-m venv "*) mkdir -p "$3/bin" "$3/lib/python3.11/site-packages" && cp "$INSIDE/python" "$INSIDE/edgecnn" "$3/bin" ;;
--version) echo "Python $VERSION" ;;
*) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""
INSIDE_PYTHON = """#!/bin/sh
# The Python of an environment; its pip notes what it is asked for, and does what PIP says
echo "$* | PIP_USER=${PIP_USER-} PIP_TARGET=${PIP_TARGET-}" >>"$INSIDE/pip.txt"
case "$*" in
"-c "*"import pip"*) exit 0 ;;
--version) echo "Python 3.11.2"; exit 0 ;;
"-m pip uninstall"*) rm -rf "${0%/bin/python}"/lib/python3.11/site-packages/onnxruntime*; exit 0 ;;
esac
log='' target=''
while [ $# -gt 0 ]; do
  case "$1" in
  --log) log=$2 ;;
  --target) target=$2 ;;
  esac
  shift
done
[ -z "$target" ] || mkdir -p "$target"
[ -z "${PIP_SAYS:-}" ] || { printf '%s\\n' "$PIP_SAYS" >>"$log"; echo "Traceback: pip's own" >&2; exit 1; }
[ -z "${PIP_HANGS:-}" ] || { touch "$INSIDE/hangs"; sleep 60; }
"""
INSIDE_EDGECNN = """#!/bin/sh
echo "edgecnn $*, in $(pwd)"
"""


class Machine:
    """A checkout, and a PATH on which everything can be made to fail."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "the checkout ü"
        (self.checkout / "scripts").mkdir(parents=True)
        for name in ("pyproject.toml", "scripts/demo", "scripts/test", "scripts/venv.sh"):
            shutil.copy(CHECKOUT / name, self.checkout / name)
        self.bin, self.inside = folder / "bin", folder / "inside"
        self.program(self.bin / "python3", PYTHON)
        self.program(self.inside / "python", INSIDE_PYTHON)
        self.program(self.inside / "edgecnn", INSIDE_EDGECNN)
        self.tell("pip", "echo 'error: externally-managed-environment' >&2; exit 1")
        self.tell("nvidia-smi", "exit 1")
        (self.bin / "nvidia-smi").unlink()
        self.environment = {
            "PATH": f"{self.bin}:{folder / 'system'}",
            "HOME": str(folder / "home"),
            "INSIDE": str(self.inside),
            "VERSION": "3.11.2",
        }
        (folder / "system").mkdir()
        for name in (
            "awk", "cat", "cksum", "cp", "cut", "df", "dirname", "env", "grep", "ls", "mkdir", "mv", "readlink", "rm",
            "flock", "sed", "sh", "sleep", "tail", "touch", "tr", "uname",
        ):  # fmt: skip
            found = shutil.which(name)
            assert found, name
            (folder / "system" / name).symlink_to(found)

    @staticmethod
    def program(path: Path, text: str) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def tell(self, name: str, text: str) -> None:
        """Put a program on PATH, before the real one."""
        self.program(self.bin / name, f"#!/bin/sh\n{text}\n")

    def run(self, *command: str | Path, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        line = command or (self.checkout / "scripts/demo",)
        return subprocess.run(
            list(map(str, line)),
            cwd=cwd or self.checkout,
            env=self.environment | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def installed(self) -> list[str]:
        """What pip was asked to install, in order."""
        notes = self.inside / "pip.txt"
        lines = notes.read_text().splitlines() if notes.exists() else []
        return [line.partition(" | ")[0].split()[-1] for line in lines if "pip install" in line]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_demo_installs_once_and_runs_with_its_options_where_the_user_stands(
    machine: Machine, tmp_path: Path
) -> None:
    first = machine.run(machine.checkout / "scripts/demo", "--quick", "-o", "a b", cwd=tmp_path)
    assert (first.returncode, first.stdout) == (0, f"edgecnn demo --quick -o a b, in {tmp_path}\n")
    assert (
        "scripts/demo: installing edgecnn[train,cpu] into .venv: the first time this downloads 400 MB" in first.stderr
    )
    second = machine.run()
    assert (second.returncode, second.stderr) == (0, "")
    assert machine.installed() == [".[train,cpu]"]


@pytest.mark.parametrize("shell", [("sh",), ()])
def test_it_may_be_called_by_a_shell_or_through_a_link(machine: Machine, tmp_path: Path, shell: tuple[str]) -> None:
    (tmp_path / "link").symlink_to(machine.checkout / "scripts/demo")
    assert machine.run(*shell, "./link", cwd=tmp_path).returncode == 0
    assert (machine.checkout / ".venv").is_dir()


def test_what_the_tests_have_installed_is_enough_for_the_demo_and_the_other_way_round_more_is_added(
    machine: Machine,
) -> None:
    machine.run()
    machine.run(machine.checkout / "scripts/test")  # ends where it finds no ruff
    machine.run()
    assert machine.installed() == [".[train,cpu]", ".[train,cpu,heif,dev]", "onnxruntime==1.24"]


def test_another_pyproject_toml_is_installed_again_with_all_that_was_there(machine: Machine) -> None:
    machine.run(machine.checkout / "scripts/test")
    with (machine.checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    machine.run()
    assert machine.installed()[-1] == ".[train,cpu,heif,dev]"


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("3.9.2", "Python must be 3.11, 3.12 or 3.13; found Python 3.9.2. Install one of them"),
        ("3.14.0", "Python must be 3.11, 3.12 or 3.13; found Python 3.14.0. Install one of them"),
    ],
)
def test_a_python_that_is_too_old_or_too_new_is_told(machine: Machine, version: str, told: str) -> None:
    end = machine.run(VERSION=version)
    assert end.returncode == 2
    assert told in end.stderr
    assert not (machine.checkout / ".venv").exists()


def test_a_newer_python_beside_an_old_one_is_found(machine: Machine) -> None:
    text = (machine.bin / "python3").read_text()
    machine.program(machine.bin / "python3.12", text.replace("$VERSION", "3.12.1"))
    end = machine.run(VERSION="3.9.2")
    assert end.returncode == 0
    assert "making .venv with python3.12" in end.stderr


def test_no_python_at_all_is_told(machine: Machine) -> None:
    (machine.bin / "python3").unlink()
    end = machine.run()
    assert end.returncode == 2
    assert "found no python3. Install one of them (Debian 12 and 13 bring one: sudo apt install python3" in end.stderr


def test_an_interpreter_that_is_named_and_does_not_run_is_told(machine: Machine) -> None:
    end = machine.run(PYTHON="/no/python")
    assert (end.returncode, "PYTHON=/no/python is older or does not run" in end.stderr) == (2, True)


def test_a_missing_venv_module_names_the_package(machine: Machine) -> None:
    end = machine.run(NO_VENV="yes")
    assert end.returncode == 2
    assert "sudo apt install python3-venv    (or python3.11-venv, if there are several Pythons)" in end.stderr
    assert not (machine.checkout / ".venv").exists()
    assert machine.run().returncode == 0  # once it is installed


@pytest.mark.parametrize("cpu", ["armv7l", "armv6l", "i686"])
def test_a_32_bit_machine_is_told_before_anything_is_downloaded(machine: Machine, cpu: str) -> None:
    machine.tell("uname", f"echo {cpu}")
    end = machine.run()
    assert end.returncode == 2
    assert (
        f"ONNX Runtime exists for no other; this one is {cpu}. On a Raspberry Pi 3, 4, 5 or Zero 2 W install the"
        in (end.stderr)
    )
    assert machine.installed() == []


def test_a_32_bit_python_on_a_64_bit_kernel_is_told(machine: Machine) -> None:
    end = machine.run(BITS="32")
    assert (end.returncode, "python3 is a 32-bit one. On a Raspberry Pi install" in end.stderr) == (2, True)


def test_alpine_is_told(machine: Machine) -> None:
    end = machine.run(LIBC="musl")
    assert (end.returncode, "built for musl (Alpine)" in end.stderr) == (2, True)


def test_too_little_disk_is_told_before_anything_is_downloaded(machine: Machine) -> None:
    machine.tell("df", "printf 'Filesystem 1024-blocks Used Available Capacity Mounted\\n/dev/x 9 9 1024000 1%% /\\n'")
    end = machine.run()
    assert end.returncode == 2
    assert f"2500 MB of free disk are needed; there are 1000 MB in {machine.checkout}: free some" in end.stderr
    assert machine.installed() == []


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "no space left on the disk, or in /tmp"),
        ("WARNING: Retrying after connection broken by 'NewConnectionError(…)'", "the network failed: run it again"),
        ("ReadTimeoutError: HTTPSConnectionPool: Read timed out.", "what was downloaded is kept"),
        ("ERROR: 403 Client Error: Forbidden for url: x", "Behind a proxy, set https_proxy first"),
        ("ERROR: THESE PACKAGES DO NOT MATCH: Expected sha256 ab", "a download arrived damaged: run it again"),
        ("2026-11-26T12:00:00,001 ERROR: No matching distribution found for x", "a package does not exist for this"),
        ("2026-11-26T12:00:00,001 ERROR: something nobody thought of", "; ERROR: something nobody thought of. Details"),
    ],
)
def test_an_installation_that_fails_says_why_once_and_the_next_one_goes_on(
    machine: Machine, says: str, told: str
) -> None:
    end = machine.run(PIP_SAYS=says, TMPDIR="/tmp")
    assert end.returncode == 2
    assert told in end.stderr
    assert "edgecnn[train,cpu] could not be installed; " in end.stderr
    assert end.stderr.rstrip().endswith(f"Details: {machine.checkout}/.venv/install.log")
    assert "Traceback" not in end.stderr
    again = machine.run()
    assert again.returncode == 0
    assert "making .venv" not in again.stderr  # nothing was lost


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_installation_that_is_cut_off_begins_anew(machine: Machine, number: signal.Signals) -> None:
    with subprocess.Popen(
        [machine.checkout / "scripts/demo"],
        env=machine.environment | {"PIP_HANGS": "yes"},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 30
        while not (machine.inside / "hangs").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, number)
        assert process.wait(30) != 0
    end = machine.run()
    assert end.returncode == 0
    assert "the last installation into .venv was cut off" in end.stderr


def test_an_environment_of_the_users_that_cannot_be_used_is_left_alone(machine: Machine) -> None:
    (machine.checkout / ".venv").mkdir()
    (machine.checkout / ".venv" / "precious").touch()
    end = machine.run()
    assert end.returncode == 2
    assert "was not made by edgecnn: move it away" in end.stderr
    assert (machine.checkout / ".venv" / "precious").exists()


def test_two_scripts_do_not_install_at_once(machine: Machine) -> None:
    with subprocess.Popen(
        [machine.checkout / "scripts/demo"],
        env=machine.environment | {"PIP_HANGS": "yes"},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as first:
        deadline = time.monotonic() + 30
        while not (machine.inside / "hangs").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        end = machine.run()
        os.killpg(first.pid, signal.SIGKILL)
    assert end.returncode == 2
    assert "another process is installing into" in end.stderr
    assert machine.run().returncode == 0


def test_settings_of_pip_that_install_elsewhere_and_the_systems_own_pip_are_left_alone(machine: Machine) -> None:
    assert machine.run(PIP_USER="1", PIP_TARGET="/elsewhere", PIP_REQUIRE_VIRTUALENV="1").returncode == 0
    (line,) = [line for line in (machine.inside / "pip.txt").read_text().splitlines() if "pip install" in line]
    assert line.endswith("| PIP_USER=0 PIP_TARGET=")


def test_both_onnx_runtimes_at_once_are_parted(machine: Machine) -> None:
    machine.run()
    packages = machine.checkout / ".venv/lib/python3.11/site-packages"
    for name in ("onnxruntime-1.31.1", "onnxruntime_gpu-1.31.1"):
        (packages / f"{name}.dist-info").mkdir()
    end = machine.run()
    assert end.returncode == 0
    assert "onnxruntime and onnxruntime-gpu are both in .venv and have overwritten each other's files" in end.stderr
    assert list(packages.iterdir()) == []
    assert machine.installed() == [".[train,cpu]", ".[train,cpu]"]


def test_an_onnx_runtime_for_the_gpu_stays(machine: Machine) -> None:
    machine.run()
    (machine.checkout / ".venv/lib/python3.11/site-packages/onnxruntime_gpu-1.31.1.dist-info").mkdir()
    assert machine.run().returncode == 0
    assert machine.installed()[-1] == ".[train,gpu]"
