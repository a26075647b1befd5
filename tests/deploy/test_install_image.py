"""install.sh as an image is made: in a chroot of a system that is not running, by its own systemctl and useradd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from device import INSTALL

PYTHON = "/usr/bin/python3"
# A copy of this system that is gone when it ends: what is written goes to memory
CHROOT = """
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/all"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" none "$1/all"
for place in /proc /dev "$2"; do mount --rbind "$place" "$1/all$place"; done
shift 2
exec chroot "$0" "$@"
"""
LOOK = """
id -nG edgecnn
readlink /etc/systemd/system/multi-user.target.wants/edgecnn@door.service
stat -c '%U %G %a' /etc/edgecnn/door.toml
grep ^model /etc/edgecnn/door.toml
head -n 1 /opt/edgecnn/venv/bin/edgecnn
edgecnn inspect /opt/edgecnn/models/door.onnx | grep -c '"labels"'
"""


def image(tmp_path: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """Run a command in there."""
    place = tmp_path / "image"
    place.mkdir(exist_ok=True)
    words = ["unshare", "--mount", "sh", "-ec", CHROOT, place / "all", place, tmp_path.parent, *command]
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(list(map(str, words)), env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def _images_can_be_made(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can change into an image")
    look = "import sys, ensurepip, venv; print('%d.%d' % sys.version_info[:2])"
    done = image(tmp_path, PYTHON, "-c", look)
    if done.returncode != 0:
        pytest.skip(f"this system makes no such images: {done.stderr.strip()}")
    if done.stdout.strip() != f"{sys.version_info[0]}.{sys.version_info[1]}":
        pytest.skip(f"the packages here are not for {PYTHON}, which is {done.stdout.strip()}")
    if image(tmp_path, "setpriv", "--reuid", "65534", "ls", sys.prefix).returncode != 0:
        pytest.skip("the packages here may be read by their owner only")


def test_a_model_is_installed_in_an_image_that_starts_it_later(
    tmp_path: Path, wheelhouse: Path, models: dict[str, Path]
) -> None:
    options = f"--no-start --wheelhouse {wheelhouse} --model '{models['good']}' --name door --source test:"
    done = image(tmp_path, "sh", "-ec", f"bash {INSTALL} {options}; {LOOK}")
    assert done.returncode == 0, done.stderr
    state, version, groups, unit, rights, model, python, card = done.stdout.splitlines()
    assert (state, version) == ("state=installed", "version=0.1.0")
    assert set(groups.split()) >= {"edgecnn", "video"}
    assert unit == "/etc/systemd/system/edgecnn@.service"
    assert rights == "root edgecnn 640"
    assert model == 'model = "/opt/edgecnn/models/door.onnx"'
    assert python.startswith("#!/opt/edgecnn/venv-0.1.0-")
    assert card == "1", "its program runs, and knows the model"


def test_a_service_that_cannot_be_enabled_says_why_and_goes_back(
    tmp_path: Path, wheelhouse: Path, models: dict[str, Path]
) -> None:
    options = f"--no-start --wheelhouse {wheelhouse} --model '{models['good']}' --name door --source test:"
    spoilt = "cd /etc/systemd/system; rm -rf multi-user.target.wants; echo >multi-user.target.wants"
    look = "find /opt/edgecnn* /etc/edgecnn* /etc/systemd/system/edgecnn* 2>/dev/null; id edgecnn 2>/dev/null || true"
    done = image(tmp_path, "sh", "-c", f"{spoilt}; bash {INSTALL} {options}; {look}")
    assert done.stdout == "state=rolled-back\n"
    assert "multi-user.target.wants/edgecnn@door.service" in done.stderr
    assert "going back to what was there before" in done.stderr
