"""scripts/demo and scripts/test up to where the installation is done, on machines that lack something.

The scripts are the real ones, in a checkout of their own. Python, its pip and what tells of the machine are programs on
PATH that behave as told (machine.py, fake_python.py). Nothing is downloaded.
"""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_demo_installs_once_and_runs_with_its_options_where_the_user_stands(
    machine: Machine, tmp_path: Path
) -> None:
    first = machine.run(machine.checkout / "scripts/demo", "--quick", "-o", "a b", cwd=tmp_path)
    assert (first.returncode, first.stdout) == (0, f"edgecnn demo --quick -o a b, in {tmp_path}\n")
    assert "scripts/demo: making .venv with python3\n" in first.stderr
    assert "installing edgecnn[train,cpu] into .venv: about 450 MB to download, 2.1 GB on the disk" in first.stderr
    assert not (machine.venv / "tmp").exists()
    second = machine.run()
    assert (second.returncode, second.stderr) == (0, "")
    assert machine.installed() == [".[train,cpu]"]


@pytest.mark.parametrize("shell", [("sh",), ("bash",), ()])
def test_it_may_be_called_by_a_shell_or_through_a_link(machine: Machine, tmp_path: Path, shell: tuple[str]) -> None:
    (tmp_path / "link").symlink_to(machine.checkout / "scripts/demo")
    assert machine.run(*shell, "./link", cwd=tmp_path).returncode == 0
    assert machine.venv.is_dir()


def test_the_checkout_may_lie_in_a_folder_whose_name_begins_with_a_dash(machine: Machine, tmp_path: Path) -> None:
    machine.checkout.rename(tmp_path / "-x")
    assert machine.run("sh", "--", "-x/scripts/demo", cwd=tmp_path).returncode == 0
    assert (tmp_path / "-x/.venv").is_dir()


def test_what_one_script_has_installed_the_other_finds_and_adds_to(machine: Machine) -> None:
    machine.run()
    machine.run(machine.checkout / "scripts/test")  # ends where it finds no ruff
    end = machine.run()
    assert (end.returncode, end.stderr) == (0, "")
    assert machine.installed() == [".[train,cpu]", ".[train,cpu,heif,video,screen,dev]", "onnxruntime==1.24"]


def test_another_pyproject_toml_is_installed_again_with_all_that_was_there(machine: Machine) -> None:
    machine.run(machine.checkout / "scripts/test")
    with (machine.checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    end = machine.run()
    assert machine.installed()[-1] == ".[train,cpu,heif,video,screen,dev]"
    assert "into .venv: what is missing or has changed\n" in end.stderr


def test_a_checkout_that_was_moved_makes_its_environment_anew(machine: Machine) -> None:
    machine.run()
    moved = machine.checkout.rename(machine.checkout.with_name("moved"))
    assert "making .venv with python3" in machine.run(moved / "scripts/demo", cwd=moved).stderr


def test_another_python_that_is_named_makes_the_environment_anew(machine: Machine) -> None:
    machine.run()
    assert machine.run(PYTHON="python3").stderr == ""
    machine.tell("python3.12", f"VERSION=3.12.1 exec '{machine.bin}/python3' \"$@\"")
    assert "making .venv with python3.12" in machine.run(PYTHON="python3.12").stderr


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("3.9.2", "found python3 is 3.9.2"),
        ("3.14.0", "python3 is 3.14.0, for which there is no TensorFlow yet"),
    ],
)
def test_a_python_that_is_too_old_or_too_new_is_told(machine: Machine, version: str, found: str) -> None:
    found = found.removeprefix("found ")
    told = machine.refuses(f"Python must be 3.11, 3.12 or 3.13; {found}\n", "install uv", VERSION=version)
    assert "PYTHON=/path/to/python3.12 scripts/demo" in told
    assert not machine.venv.exists()


def test_a_python_may_be_named_by_where_it_lies_from_where_the_user_stands(machine: Machine, tmp_path: Path) -> None:
    end = machine.run(machine.checkout / "scripts/demo", cwd=tmp_path, PYTHON="bin/python3")
    assert f"making .venv with {tmp_path}/bin/python3\n" in end.stderr


def test_an_environment_of_the_users_is_used_if_it_runs_and_else_left_alone(machine: Machine) -> None:
    (machine.venv / "bin").mkdir(parents=True)
    (machine.venv / "precious").touch()
    assert f"mv '{machine.venv}'" in machine.refuses("must be made by scripts/demo, or be an environment")
    shutil.copy(machine.bin / "python3", machine.venv / "bin/python")
    machine.packages.mkdir(parents=True)
    assert "making .venv" not in machine.run().stderr
    assert (machine.venv / "precious").exists()


def test_a_python_that_fits_is_found_beside_one_that_does_not_and_one_that_does_not_run(machine: Machine) -> None:
    machine.tell("python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    machine.tell("python3.12", f"VERSION=3.12.1 exec '{machine.bin}/python3' \"$@\"")
    end = machine.run(VERSION="3.9.2")
    assert "making .venv with python3.12" in end.stderr


def test_no_python_at_all_is_told(machine: Machine) -> None:
    (machine.bin / "python3").unlink()
    machine.refuses("3.13; there is no python3\n", "sudo apt install python3 python3-venv")


def test_an_interpreter_that_is_named_and_is_of_no_use_is_told(machine: Machine) -> None:
    machine.refuses("; PYTHON=/no/python does not run\n", PYTHON="/no/python")
    machine.refuses("; PYTHON=python3 is 3.10.13\n", PYTHON="python3", VERSION="3.10.13")


def test_a_missing_venv_module_names_the_package(machine: Machine) -> None:
    machine.refuses("sudo apt install python3-venv\n", "sudo apt install python3.11-venv\n", NO_VENV="yes")
    assert not machine.venv.exists()
    assert machine.run().returncode == 0  # once it is installed


def test_an_environment_that_cannot_be_made_is_told_and_the_next_run_begins_anew(machine: Machine) -> None:
    machine.refuses("making .venv with python3 failed: Error: [Errno 1] Operation not permitted", VENV_FAILS="yes")
    assert machine.run().returncode == 0


@pytest.mark.parametrize("cpu", ["armv7l", "armv6l", "armv8l", "i686"])
def test_a_32_bit_machine_is_told_before_anything_is_downloaded(machine: Machine, cpu: str) -> None:
    machine.tell("uname", f"echo {cpu}")
    machine.refuses(f"no ONNX Runtime for 32-bit ones; this machine is {cpu}\n", "flash the 64-bit Raspberry Pi OS")


def test_a_32_bit_python_on_a_64_bit_kernel_is_told(machine: Machine) -> None:
    machine.tell("uname", "echo aarch64")
    machine.refuses("python3 is a 32-bit program (on a kernel that says aarch64)", "64-bit Raspberry", BITS="32")


def test_alpine_is_told(machine: Machine) -> None:
    machine.refuses("need the GNU C library; python3 was built for another (that of Alpine is musl)", LIBC="musl")


DF = "printf 'Filesystem 1024-blocks Used Available Capacity Mounted on\\n//nas/my disk 9 9 %s 1%%%% /\\n'"


def test_too_little_disk_is_told_before_anything_is_made(machine: Machine) -> None:
    machine.tell("df", DF % 1_000_000)
    machine.refuses(f"3000 MB of free disk are needed in {machine.venv}; there are 1024 MB", "ln -s /DISK/edgecnn-venv")
    assert not machine.venv.exists()
    machine.tell("df", "echo df: cannot tell >&2; exit 1")
    assert machine.run().returncode == 0


def test_a_small_folder_for_temporary_files_is_told_if_the_user_set_it(machine: Machine, tmp_path: Path) -> None:
    machine.tell("df", f"case $2 in {tmp_path}) {DF % 100_000} ;; *) {DF % 9_000_000} ;; esac")
    machine.refuses(f"500 MB are needed for temporary files; TMPDIR={tmp_path} has 102 MB", TMPDIR=str(tmp_path))
    assert machine.run().returncode == 0


def test_temporary_files_lie_in_the_environment_since_tmp_may_be_small(machine: Machine, tmp_path: Path) -> None:
    machine.run()
    assert machine.asked()[0]["environment"]["TMPDIR"] == str(machine.venv / "tmp")  # type: ignore[index]
    machine.venv.rename(tmp_path / "first")
    machine.run(TMPDIR=str(tmp_path))
    assert machine.asked()[1]["environment"]["TMPDIR"] == str(tmp_path)  # type: ignore[index]


def test_the_environment_may_be_a_link_to_another_disk(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    machine.venv.symlink_to(tmp_path / "disk")
    assert machine.run().returncode == 0
    assert machine.venv.is_symlink()
    assert (tmp_path / "disk/bin/edgecnn").exists()


def test_a_checkout_that_cannot_be_written_to_is_told() -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        for place in (Path(folder), machine.checkout):
            place.chmod(0o555)
        nobody = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}  # root may write everywhere
        line = ["sh", machine.checkout / "scripts/demo"]
        end = subprocess.run(line, env=machine.environment, capture_output=True, text=True, check=False, **nobody)
        machine.checkout.chmod(0o755)
        Path(folder).chmod(0o755)
    assert end.returncode == 2
    assert f"{machine.checkout} must be writable, since .venv and its temporary files lie in there" in end.stderr


RETRY = "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by "
FAILED = [
    ("ERROR: x\nOSError: [Errno 28] No space left on device", "OSError: [Errno 28] No", "3000 MB are needed"),
    (
        f"      {RETRY}'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f>: Failed to "
        "establish a new connection: [Errno -3] Temporary failure in name resolution')': /simple/setuptools/\n"
        "      ERROR: Could not find a version that satisfies the requirement setuptools>=77 (from versions: none)\n"
        "      ERROR: No matching distribution found for setuptools>=77\nerror: subprocess-exited-with-error",
        "installed: Failed to establish a new connection: [Errno -3] Temporary failure in name resolution\n",
        "Type the same command again",
    ),
    (
        f"{RETRY}'OSError('Tunnel connection failed: 403 Forbidden by policy')': /simple/idna/\nERROR: No matching",
        "installed: Tunnel connection failed: 403 Forbidden by policy\n",
        "export https_proxy=http://HOST:PORT",
    ),
    (
        'ERROR: Exception:\nTraceback (most recent call last):\n  File "x", line 4, in y\nTimeoutError: timed out\n'
        "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(host='h', port=443): Read timed out.",
        "installed: ReadTimeoutError: HTTPSConnectionPool(host='h', port=443): Read timed out.\n",
        "taken from the cache",
    ),
    (
        "error: incomplete-download\n\n× Download failed after 6 attempts because not enough bytes were received\n"
        "╰─> URL: https://x\n\nnote: This is an issue with network connectivity, not pip.",
        "installed: Download failed after 6 attempts because not enough bytes were received\n",
        "Type the same command again",
    ),
    (
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n   Expected sha256 0\n   Got  1",
        "installed: a download does not match its checksum, so it was cut off or changed\n",
        "Type the same command again",
    ),
    (
        f"{RETRY}'x': /simple/y/\nERROR: Could not find a version that satisfies the requirement tensorflow-cpu>=2.21 "
        "(from versions: 2.22.0rc0)\nERROR: No matching distribution found for tensorflow-cpu>=2.21",
        "the requirement tensorflow-cpu>=2.21 (from versions: 2.22.0rc0)\n",
        "There is none for this computer (Python 3.11.2, ",
    ),
    ("ERROR: nobody thought of this\nWARNING: nor of that", "installed: nobody thought of this\n", ""),
    (
        "error: Request failed after 3 retries\n  cause: error sending request for url (x)\n  cause: dns error\n"
        "  cause: failed to lookup address information: Name or service not known",
        "installed: failed to lookup address information: Name or service not known\n",
        "Behind a proxy",
    ),
]


@pytest.mark.parametrize(("says", "why", "remedy"), FAILED)
def test_an_installation_that_fails_says_why_once(machine: Machine, says: str, why: str, remedy: str) -> None:
    end = machine.run(PIP_SAYS=says, PIP_FAILS="yes")
    assert (end.returncode, end.stdout) == (2, "")
    assert "scripts/demo: edgecnn[train,cpu] could not be installed: " in end.stderr
    assert why in end.stderr
    assert remedy in end.stderr
    assert end.stderr.endswith(f"All that the installer said: {machine.venv / 'install.log'}\n")
    assert says in (machine.venv / "install.log").read_text()
    assert "Traceback" not in end.stderr


def test_after_a_failure_the_same_command_goes_on(machine: Machine) -> None:
    assert machine.run(PIP_FAILS="yes").returncode == 2
    again = machine.run()
    assert again.returncode == 0
    assert "making .venv" not in again.stderr  # nothing was lost


def test_what_a_pip_says_that_pip_started_lies_in_the_log_only_and_is_found(machine: Machine) -> None:
    logs = (
        f"2026-11-26T12:00:00,000   {RETRY}'OSError('Tunnel connection failed: 403 Forbidden')': /simple/x/\n"
        "2026-11-26T12:00:00,000   ERROR: No matching distribution found for setuptools>=77"
    )
    end = machine.run(PIP_LOGS=logs, PIP_SAYS="error: subprocess-exited-with-error", PIP_FAILS="yes")
    assert "could not be installed: Tunnel connection failed: 403 Forbidden\n" in end.stderr


def test_an_installer_that_the_system_kills_is_told_of_memory(machine: Machine) -> None:
    end = machine.run(PIP_KILLED="9")
    assert end.returncode == 2
    assert "the installer was killed by signal 9\n  That is how the system ends a program when memory" in end.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_installation_that_is_cut_off_begins_anew(machine: Machine, number: signal.Signals) -> None:
    with machine.start() as process:
        os.killpg(process.pid, number)
        told = process.communicate(timeout=30)[1]
        assert process.returncode == (130 if number == signal.SIGINT else -9)
    assert ("scripts/demo: stopped; the same command" in told) == (number == signal.SIGINT)
    end = machine.run()
    assert end.returncode == 0
    assert "the last installation into .venv was cut off" in end.stderr


def test_nothing_goes_on_speaking_once_the_script_was_killed(machine: Machine) -> None:
    with machine.start(PIP_TAKES="0.5") as process:
        process.kill()
        process.wait(30)
        process.communicate(timeout=30)  # ends with the last one that holds standard error


@pytest.mark.skipif(not shutil.which("flock"), reason="without flock there are no turns")
def test_a_second_script_waits_for_the_first(machine: Machine) -> None:
    with machine.start(PIP_TAKES="1") as process:
        second = machine.run()
        process.communicate(timeout=30)
        assert (process.returncode, second.returncode) == (0, 0)
    assert "something is installing into .venv already; waiting for it" in second.stderr
    assert machine.installed() == [".[train,cpu]"]


def test_one_sees_that_it_goes_on(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "clock").write_text("0")
    machine.tell("sleep", "exit 0")
    machine.tell("date", f"t=$(($(cat '{tmp_path}/clock') + 9)); echo $t >'{tmp_path}/clock'; echo $t")
    times = "2026-11-26T12:00:00,000   "
    logs = f"{times}{RETRY}'x': /y/\n{times}Downloading https://x/tensorflow_cpu-2.21.0-cp311.whl (273.8 MB)"
    with machine.start(PIP_TAKES="0.6", PIP_LOGS=logs) as process:
        told = process.communicate(timeout=30)[1]
    assert "scripts/demo: the network does not answer; trying again\n" in told
    assert "scripts/demo: downloading tensorflow_cpu, 273.8 MB\n" in told
    assert "scripts/demo: still at it after " in told


def test_on_a_terminal_pip_shows_its_own_progress(machine: Machine) -> None:
    ours, theirs = pty.openpty()
    line = [machine.checkout / "scripts/demo"]
    end = subprocess.run(line, env=machine.environment, stdout=subprocess.PIPE, stderr=theirs, check=True)
    assert b"Collecting edgecnn" in os.read(ours, 100_000)
    assert end.stdout.startswith(b"edgecnn demo")
    assert [line["terminal"] for line in machine.asked()] == [True]


def test_settings_of_pip_that_install_elsewhere_do_not_reach_it_but_index_and_proxy_do(machine: Machine) -> None:
    odd = {f"PIP_{name}": "1" for name in ("USER", "TARGET", "PREFIX", "ROOT", "NO_DEPS", "REQUIRE_VIRTUALENV")}
    assert machine.run(**odd, PIP_INDEX_URL="https://x").returncode == 0
    seen = machine.asked()[0]["environment"]
    assert isinstance(seen, dict)
    assert {name: seen[name] for name in odd if name in seen} == {"PIP_USER": "0"}
    assert seen["PIP_INDEX_URL"] == "https://x"


def test_a_pip_conf_that_installs_elsewhere_is_told(machine: Machine) -> None:
    told = machine.refuses(CONFIG="global.index-url='https://x'\nglobal.target='/srv/lib'")
    assert "a pip.conf of yours says global.target='/srv/lib'\n" in told
    assert "-m pip config unset global.target\n" in told


@pytest.mark.parametrize(("nvidia", "kept", "extra"), [(False, "onnxruntime", "cpu"), (True, "onnxruntime_gpu", "gpu")])
def test_both_onnx_runtimes_at_once_are_parted(machine: Machine, nvidia: bool, kept: str, extra: str) -> None:
    machine.run()
    for name in ("onnxruntime", "onnxruntime_gpu"):
        (machine.packages / f"{name}-1.32.0.dist-info").mkdir(exist_ok=True)
        (machine.packages / f"{name}-1.32.0.dist-info/RECORD").write_text(
            f"both.so,sha256=0,1\nonly_{name}.so,sha256=0,1\n"
        )
        (machine.packages / f"only_{name}.so").touch()
    (machine.packages / "both.so").touch()
    if nvidia:
        machine.tell("nvidia-smi", "exit 0")
    failed = machine.run(PIP_FAILS="yes")
    assert failed.returncode == 2
    assert len(list(machine.packages.glob("onnxruntime*"))) == 2  # seen again by the next run
    end = machine.run()
    assert end.returncode == 0
    assert "onnxruntime and onnxruntime-gpu are both in .venv and have overwritten each other's files" in end.stderr
    assert [path.name for path in machine.packages.glob("onnxruntime*")] == [f"{kept}-1.32.0.dist-info"]
    assert sorted(path.name for path in machine.packages.glob("*.so")) == ["both.so", f"only_{kept}.so"]
    assert machine.installed()[-2:] == [f"{kept}==1.32.0", f".[train,{extra}]"]
    assert machine.run().stderr == ""


def test_an_onnx_runtime_for_the_gpu_stays(machine: Machine) -> None:
    machine.run()
    (machine.packages / "onnxruntime-1.32.0.dist-info").rename(machine.packages / "onnxruntime_gpu-1.32.0.dist-info")
    assert machine.run().returncode == 0
    assert machine.installed()[-1] == ".[train,gpu]"


def test_an_onnx_runtime_that_was_removed_comes_back(machine: Machine) -> None:
    machine.run()
    (machine.packages / "onnxruntime-1.32.0.dist-info").rmdir()
    machine.run()
    assert (machine.packages / "onnxruntime-1.32.0.dist-info").exists()
