"""Folders that are made once and kept under ``$XDG_CACHE_HOME/edgecnn/pi/``.

A folder is made under a temporary name and renamed when it is complete, so one that was cut off is never found. Who
comes while another makes one waits.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from emulated.problem import Problem


def say(text: str) -> None:
    """Tells the user something that is no output of the command."""
    print(f"scripts/pi: {text}", file=sys.stderr, flush=True)


def home() -> Path:
    """The folder of all that is kept."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "edgecnn" / "pi"


@contextmanager
def turn() -> Iterator[None]:
    """One at a time."""
    home().mkdir(parents=True, exist_ok=True)
    with (home() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another scripts/pi is setting up; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kept(name: str, make: Callable[[Path], None], telling: str, *, offline: bool = False) -> Path:
    """A folder, made if it is not there yet; to be called in one's `turn`.

    Args:
        name: The folder's, which says all that its contents depend on.
        make: Makes it at the path it is given.
        telling: What it is, for the user.
        offline: It must be there.

    Raises:
        Problem: It is not there, and cannot be made or may not.
    """
    folder = home() / name
    if folder.is_dir():
        return folder
    if offline:
        raise Problem(f"{telling} was asked for, with --offline; it has not been fetched", "Leave out --offline once.")
    for left in home().glob("*.part*"):  # by one that was killed
        shutil.rmtree(left)
    say(f"fetching {telling}, to be kept in {home()}")
    part = home() / f"{name}.part"
    try:
        make(part)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def clean() -> None:
    """Removes all that was kept, but for the file by which others wait."""
    if home().is_dir():
        with turn():
            for path in home().iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
