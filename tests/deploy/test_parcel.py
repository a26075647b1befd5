"""What is sent over a connection, and the command that takes it in, in every shell that is here."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgecnn_deploy.parcel import Parcel

SHELLS = [name for name in ("sh", "dash", "bash", "zsh", "csh", "tcsh", "fish", "ksh") if shutil.which(name)]
SCRIPT = b'printf "%s\\n" "$PWD" "$@"; cat model.onnx; head -c 5\n'


@pytest.fixture
def parcel() -> Iterator[Parcel]:
    files = {"install.sh": SCRIPT, "model.onnx": b"model", "wheelhouse/a.whl": bytes(10_000)}
    with tempfile.TemporaryFile() as archive:
        yield Parcel.pack(archive, files, ["--name", "door"])


def whole(parcel: Parcel) -> bytes:
    parcel.archive.seek(0)
    return parcel.archive.read()


def receive(parcel: Parcel, sent: bytes, folder: Path, shell: str = "sh") -> subprocess.CompletedProcess[bytes]:
    bin = folder / "bin"
    bin.mkdir(exist_ok=True)
    (bin / "sudo").write_text('#!/bin/sh\n[ "$1" = -n ] && shift\nexec "$@"\n')
    (bin / "sudo").chmod(0o755)
    (folder / "tmp").mkdir(exist_ok=True)
    environment = {"PATH": f"{bin}:/usr/bin:/bin", "TMPDIR": str(folder / "tmp"), "HOME": str(folder)}
    command = [shell, "-c", parcel.command]
    return subprocess.run(command, input=sent, env=environment, capture_output=True, check=False, timeout=60)


@pytest.mark.parametrize("shell", SHELLS)
def test_it_is_unpacked_run_and_removed_whatever_the_login_shell(parcel: Parcel, tmp_path: Path, shell: str) -> None:
    done = receive(parcel, whole(parcel) + b"after that", tmp_path, shell)
    assert done.returncode == 0, done.stderr
    _, place, *rest = done.stdout.decode().splitlines()
    assert rest == ["--name", "door", "modelafter"], "what follows the archive is left for install.sh"
    assert Path(place).parent == tmp_path / "tmp"
    assert os.listdir(tmp_path / "tmp") == []


def test_one_that_is_cut_short_or_damaged_is_not_run(parcel: Parcel, tmp_path: Path) -> None:
    archive = whole(parcel)
    headers = [0, 1, 511, 512, 1024, 1536, 2048, 2560, len(archive) // 2, len(archive) - 10240]
    for sent in [*(archive[:length] for length in headers), archive.replace(b"model\0", b"modle\0")]:
        done = receive(parcel, sent, tmp_path)
        assert done.returncode == 3, (len(sent), done)
        assert b"modelafter" not in done.stdout
        assert b"door" not in done.stdout
        assert os.listdir(tmp_path / "tmp") == []


def test_it_can_be_typed_between_single_quotes(parcel: Parcel) -> None:
    inside = parcel.command.removeprefix("exec sh -c '").removesuffix("'")
    assert not set(inside) & set("'\\!\n")
