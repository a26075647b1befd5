"""``scripts/pi`` in tests: it is asked for what has been fetched only, and a test is skipped where it cannot run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
BOARDS = ["3", "4", "5"]
"""One of each CPU: Cortex-A53, A72, A76."""


def on_pi(
    *command: str | Path,
    board: str = "4",
    release: str = "bookworm",
    timeout_s: float = 300,
    cache_home: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command of the guest, from what was fetched into the user's own cache or into `cache_home`."""
    places = {"XDG_CACHE_HOME": os.environ["EDGECNN_TESTS_CACHE_HOME"] if cache_home is None else cache_home}
    line = [CHECKOUT / "scripts/pi", "--offline", "--board", board, "--release", release, *command]
    return subprocess.run(line, env=os.environ | places, capture_output=True, text=True, check=False, timeout=timeout_s)


def skip_without_pi(release: str = "bookworm") -> None:
    """Skip the test with the reason that scripts/pi gives, which is its code 2."""
    end = on_pi("true", release=release)
    if end.returncode == 2:
        pytest.skip(f"{end.stderr.strip()} (type: scripts/pi --release {release} true)")
    assert end.returncode == 0, end.stderr
