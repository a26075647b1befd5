"""The systemd unit: what systemd itself says of it, and what it promises."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "edgecnn_deploy"
UNIT = DEPLOY / "edgecnn@.service"
PROGRAM = "/opt/edgecnn/venv/bin/edgecnn"

with_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


def read(path: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path)
    return unit


@with_systemd
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "edgecnn@.service"
    unit.write_text(UNIT.read_text().replace(PROGRAM, shutil.which("true") or "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", f"{tmp_path}/edgecnn@door.service"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@with_systemd
def test_what_the_service_could_reach_is_little(tmp_path: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"Overall exposure level .*: ([0-9.]+) ", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= 2.5  # of 10; a service without any of it is at 9.6


def test_it_starts_for_ever_and_is_ended_where_it_hangs() -> None:
    service, unit = read(UNIT)["Service"], read(UNIT)["Unit"]
    assert unit["StartLimitIntervalSec"] == "0"
    assert (service["Type"], service["Restart"]) == ("notify", "always")
    assert int(service["WatchdogSec"]) >= 60  # a camera may take 20 seconds to give its first frame
    assert "--retry-first" in service["ExecStart"]
    assert service["ExecStart"].split()[0] == PROGRAM


def test_newer_systemds_get_longer_pauses_that_only_they_know() -> None:
    added = read(DEPLOY / "backoff.conf")["Service"]
    assert float(added["RestartSec"]) < float(added["RestartMaxDelaySec"])
    assert "RestartSteps" in added
    assert "RestartSteps" not in read(UNIT)["Service"]  # systemd 252, of Bookworm, warns of it
