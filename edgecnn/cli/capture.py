"""``edgecnn capture``: pictures for training, from the camera that will predict."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from edgecnn.cli import feed
from edgecnn.cli.streams import stopped_by_signals, tell
from edgecnn.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgecnn.capture import Taken

_ADVICE = (
    "advice: take every class at the same place, and a class of what the camera sees without any of them (background);",
    "        change light, distance, angle and what lies behind; 50 pictures of a class are a beginning, 200 better",
)


def capture(
    source: Annotated[
        str, typer.Argument(help="A camera or another source, as `edgecnn predict` takes it.", metavar="SOURCE")
    ],
    folder: Annotated[
        str, typer.Argument(help="The folder of a class, photos/cat: its name is the label.", metavar="DIR/LABEL")
    ],
    every: Annotated[float, typer.Option(min=0.0, max=86_400, metavar="S", help="Seconds between two pictures.")] = 0.5,
    count: Annotated[int, typer.Option(min=1, max=1_000_000, metavar="N", help="How many pictures to take.")] = 200,
) -> None:
    """Take pictures for training with the camera that will predict; Ctrl-C ends it.

    What is nearly the same as a picture that was just taken is left out.
    """
    from edgecnn.capture import capture
    from edgecnn.pipeline import open_source

    path = pathlib.Path(folder)
    if path.exists() and not path.is_dir():
        raise UsageError(f"DIR/LABEL must be a folder; {folder!r} is a file: name another")
    if path.name in ("", "..") or not path.name.isprintable() or path.name.startswith("."):
        raise UsageError(f"the name of a class folder must be its label; received {folder!r}: photos/cat")
    others = _others(path)
    opened = open_source(source)
    if not others:
        for line in _ADVICE:
            tell(line)
    with contextlib.ExitStack() as stack:
        if opened.live:
            stack.enter_context(feed.told_changes())
            stack.enter_context(stopped_by_signals())
        taken = capture(opened, path, every_s=every, count=count, show=_count(path, count))
    _clear()
    record = {"type": "capture", "source": source, "folder": folder, "saved": taken.saved, "alike": taken.alike}
    if sys.stdout is None or not sys.stdout.isatty():
        print(json.dumps(record | {"damaged": taken.damaged}, ensure_ascii=False))  # noqa: T201
    tell(_sentence(taken, path))
    root = shlex.quote(str(path.parent))
    if others:
        tell(f"next:  edgecnn train {root} --split ordered")
    else:
        tell(f"next:  edgecnn capture {shlex.quote(source)} {shlex.quote(str(path.parent / 'background'))}")


def _others(path: pathlib.Path) -> list[str]:
    """The other class folders beside this one."""
    with contextlib.suppress(OSError):
        beside = path.absolute().parent
        return [
            other.name
            for other in beside.iterdir()
            if other.is_dir() and other.name[0] != "." and other.name != path.name
        ]
    return []


def _count(path: pathlib.Path, count: int) -> Callable[[Taken], None]:
    """What shows the running count, on a terminal."""
    if not sys.stderr.isatty():
        return lambda taken: None

    def show(taken: Taken) -> None:
        alike = f", {taken.alike:,} nearly the same" if taken.alike else ""
        line = f"{path.name}: {taken.saved:,} of {count:,}{alike}   "
        with contextlib.suppress(OSError):
            print(f"\r{line}", end="", file=sys.stderr, flush=True)  # noqa: T201

    return show


def _clear() -> None:
    if sys.stderr.isatty():
        with contextlib.suppress(OSError):
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # noqa: T201


def _sentence(taken: Taken, path: pathlib.Path) -> str:
    said = f"{path}  {taken.saved:,} picture{'s' if taken.saved != 1 else ''} saved"
    if taken.alike:
        said += f", {taken.alike:,} left out as nearly the same"
        if taken.alike > taken.saved:
            said += ": move the camera or what it looks at"
    return said + (f", {taken.damaged:,} damaged" if taken.damaged else "")
