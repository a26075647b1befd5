from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest
from command import Edgecnn, Outcome
from hypothesis import settings

settings.register_profile("shared machine", deadline=None)  # a busy core is no failure
settings.load_profile("shared machine")

# The user's own, before the tests of training take another; what scripts/pi has fetched lies there.
os.environ.setdefault("EDGECNN_TESTS_CACHE_HOME", os.environ.get("XDG_CACHE_HOME", ""))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also what takes longer, or needs more than pyproject.toml")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--full"):
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason="runs with scripts/test --full"))


@pytest.fixture
def edgecnn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Edgecnn:
    """Run ``edgecnn ARGS`` in this process, through the real `main`."""
    from edgecnn.cli import main

    def run(*args: object, terminal: bool = False) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["edgecnn", *map(str, args)])
        monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return Outcome(int(end.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def _heeds_ctrl_c() -> Iterator[None]:
    """A program inherits it where Ctrl-C is ignored, as in a shell's background job; here it shall not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
