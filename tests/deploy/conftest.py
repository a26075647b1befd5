from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from device import Device, Sshd, make_wheelhouse, write_models


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wheelhouse(tmp_path_factory.mktemp("wheelhouse"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Paths with blanks."""
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device with nothing on it."""
    folder = tmp_path / "device"
    folder.mkdir()
    made = Device(folder)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Path, models: dict[str, Path]) -> Iterator[Device]:
    """A device on which the service ``camera`` runs; a test uses names of its own, or leaves that one as it was."""
    made = Device(tmp_path_factory.mktemp("installed"))
    done = made.install("--wheelhouse", wheelhouse, "--model", models["good"], "--source", "test:?fps=20")
    assert done.returncode == 0, done.stderr
    yield made
    made.stop()


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[[Device], Sshd]]:
    """Starts an SSH server for a device."""
    servers: list[Sshd] = []

    def start(device: Device) -> Sshd:
        servers.append(Sshd(tmp_path / f"sshd{len(servers)}", device))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
