"""A device in a folder: its root, the programs on its PATH, and an SSH server of its own."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import onnx_bytes
import pytest
from edgecnn_deploy.wheels import build_wheel

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
INSTALL = CHECKOUT / "deploy/edgecnn_deploy/install.sh"
PROGRAMS = {
    "systemctl": f'exec "{sys.executable}" -S -E "{HERE / "fake_systemctl.py"}" "$@"',
    "python3": f'exec "{sys.executable}" "$@"',
    "sudo": '[ "$1" = -n ] && shift; exec "$@"',
    "journalctl": 'shift; cat "$EDGECNN_TEST_ROOT/run/fake-systemd/$1.log"',
    "dpkg": "echo amd64",
    "apt-get": "exit 100",  # nothing is installed on the machine that runs the tests
    "id": "echo 1000",  # so that sudo is asked
}
NEEDED = ("numpy", "pillow", "typer", "onnxruntime", "av")


class Device:
    """A machine to install on.

    Args:
        folder: Where all of it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.root, self.bin = folder / "root", folder / "bin"
        (self.root / "sys/class/thermal/thermal_zone0").mkdir(parents=True)
        (self.root / "sys/class/thermal/thermal_zone0/temp").write_text("51234\n")
        self.bin.mkdir()
        for name, text in PROGRAMS.items():
            self.tell(name, text)
        (folder / "tmp").mkdir()
        self.environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "EDGECNN_TEST_ROOT": str(self.root),
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
        }

    def tell(self, name: str, text: str) -> None:
        """Put a program on its PATH."""
        (self.bin / name).write_text(f"#!/bin/bash\n{text}\n")
        (self.bin / name).chmod(0o755)

    def install(self, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run install.sh."""
        return subprocess.run(
            ["bash", str(INSTALL), *map(str, words)],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def state(self, name: str, what: str = "ActiveState") -> str:
        """What systemctl shows of a service."""
        command = [str(self.bin / "systemctl"), "show", "-p", what, "--value", f"edgecnn@{name}"]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout.strip()

    def asked(self) -> list[str]:
        """What systemctl was asked to do, but for questions."""
        verbs = ("start", "stop", "enable", "disable", "daemon-reload")
        return [line for line in (self.root / "systemctl.log").read_text().splitlines() if line.split()[0] in verbs]

    def files(self) -> dict[str, str]:
        """What is installed: each file below /opt, /etc and /usr with its content's hash, or where a link leads."""
        found = {}
        for top in ("opt", "etc", "usr"):
            for path in (self.root / top).rglob("*"):
                if path.is_symlink():
                    found[str(path.relative_to(self.root))] = os.readlink(path)
                elif path.is_file() and "/lib/python" not in str(path):
                    found[str(path.relative_to(self.root))] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def stop(self) -> None:
        """End every service."""
        for path in (self.root / "run/fake-systemd").glob("*.service"):
            subprocess.run([str(self.bin / "systemctl"), "stop", path.stem], env=self.environment, check=True)


class Sshd:
    """An SSH server that leads to a device, with keys of its own, on a port of its own.

    Args:
        folder: For its keys and configuration.
        device: Whose PATH and root its sessions have.
    """

    def __init__(self, folder: Path, device: Device) -> None:
        program = shutil.which("sshd", path="/usr/sbin:/usr/bin")
        if program is None or shutil.which("ssh") is None:
            pytest.skip("needs openssh-server and openssh-client")
        if os.getuid() == 0 and not Path("/run/sshd").is_dir():
            pytest.skip("sshd as root needs the folder /run/sshd, which its service makes: mkdir -p /run/sshd")
        folder.mkdir()
        for name in ("host", "user"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)
        self.folder, self.device = folder, device
        shutil.copy(folder / "user.pub", folder / "authorized_keys")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        settings = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": folder / "host",
            "AuthorizedKeysFile": folder / "authorized_keys",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "SetEnv": " ".join(f'{name}="{value}"' for name, value in device.environment.items()),
        }
        (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        command = [program, "-D", "-e", "-f", str(folder / "sshd_config")]
        self.log = (folder / "sshd.log").open("w")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=self.log)
        key = (folder / "host.pub").read_text().split()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key[0]} {key[1]}\n")
        self._wait()

    @property
    def host(self) -> str:
        """What to deploy to."""
        return f"127.0.0.1:{self.port}"

    @property
    def options(self) -> list[str]:
        """What `edgecnn deploy` needs to be let in."""
        paths = {"IdentityFile": "user", "UserKnownHostsFile": "known_hosts"}
        named = [f"{option}={self.folder / name}" for option, name in paths.items()]
        return [word for one in [*named, "IdentitiesOnly=yes"] for word in ("--ssh-option", one)]

    def sessions(self) -> list[int]:
        """Processes of the server that serve a connection."""
        command = ["pgrep", "-P", str(self.process.pid)]
        return [
            int(word) for word in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        ]

    def _wait(self) -> None:
        for _ in range(200):
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError((self.folder / "sshd.log").read_text())

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.log.close()


def stand_in_wheel(folder: Path, name: str) -> None:
    """A wheel by the name and version of an installed package, which leads to the one that is installed.

    To install the real ones takes half a minute and 200 MB a time. What leads there is a line in a ``.pth`` file.
    """
    there = importlib.metadata.distribution(name)
    info = f"{name}-{there.version}.dist-info"
    place = f"{name}_stands_in.pth"
    contents = {
        place: f"{there.locate_file('')}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {there.version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},{_sum(text)},{len(text.encode())}\n" for path, text in contents.items())
    with zipfile.ZipFile(folder / f"{name}-{there.version}-py3-none-any.whl", "w") as archive:
        for path, text in (contents | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            archive.writestr(path, text)


def _sum(text: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def make_wheelhouse(folder: Path) -> Path:
    """A folder with edgecnn's wheel, made from this checkout, and stand-ins for what it needs."""
    for name in NEEDED:
        stand_in_wheel(folder, name)
    scratch = folder / "scratch"
    scratch.mkdir()
    shutil.move(build_wheel(CHECKOUT, scratch), folder)
    shutil.rmtree(scratch)
    return folder


def wheel_of(wheelhouse: Path) -> Path:
    """Edgecnn's own."""
    (wheel,) = wheelhouse.glob("edgecnn-*.whl")
    return wheel


def other_wheel(wheelhouse: Path, folder: Path, **changes: str) -> Path:
    """Another wheel of the same version: with a comment, and with other contents of some files.

    Args:
        wheelhouse: Where the first one lies.
        folder: Where to.
        changes: Module of `edgecnn.cli` → its code.
    """
    path = folder / wheel_of(wheelhouse).name
    with zipfile.ZipFile(wheel_of(wheelhouse)) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            module = entry.filename.removeprefix("edgecnn/cli/").removesuffix(".py")
            new.writestr(entry, changes.get(module, old.read(entry)))
        new.comment = str(changes).encode()
    return path


def write_models(folder: Path) -> dict[str, Path]:
    """Models that tell colours apart: ``good``, another ``better`` one, and one that is ``wrong`` about itself."""
    wrong = {"seeds": [1], "expected": [[[0, 1.0]]], "tolerance": 0.01}
    made = {"good": {}, "better": {"name": "better"}, "wrong": {"self_test": wrong}}
    for name, changes in made.items():
        (folder / f"{name} model.onnx").write_bytes(onnx_bytes.color_model(**changes))
    return {name: folder / f"{name} model.onnx" for name in made}


def result_of(text: str) -> dict[str, str]:
    """What install.sh printed."""
    return dict(line.split("=", 1) for line in text.splitlines())
