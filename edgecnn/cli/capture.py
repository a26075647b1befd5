"""``edgecnn capture``: pictures for training, from the camera that will predict."""

from __future__ import annotations

import contextlib
import json
import math
import pathlib
import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from edgecnn.cli import feed
from edgecnn.cli.streams import stopped_by_signals, tell
from edgecnn.errors import ImageError, UsageError, redacted

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgecnn.capture import Taken

_ADVICE = (
    "advice: take every class at the same place, and a class of what the camera sees without any of them (background);",
    "        change light, distance, angle and what lies behind; 30 pictures of a class are a beginning, 200 good",
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
    retry_first: Annotated[
        bool,
        typer.Option("--retry-first", help="Wait for a camera that is not there yet, and not only for a lost one."),
    ] = False,
) -> None:
    """Take pictures for training with the camera that will predict; Ctrl-C ends it.

    What is nearly the same as a picture that is there already is left out.

    Exit code 0: done, also after Ctrl-C; 1: a file could not be read; 3: the source is missing or was given up; 6: a
    picture cannot be written.
    """
    from edgecnn.capture import Taken, capture
    from edgecnn.opening import is_feed, open_source

    path = pathlib.Path(folder)
    if is_feed(folder):
        typed = f"edgecnn capture {shlex.quote(redacted(folder))} {shlex.quote(redacted(source))}"
        raise UsageError(
            f"the source must stand before the folder; received {folder!r} behind it: {typed}, or for a folder of this "
            f"name {shlex.quote(f'./{folder}')}"
        )
    if path.exists() and not path.is_dir():
        raise UsageError(f"DIR/LABEL must be a folder; {folder!r} is a file: name another")
    if not math.isfinite(every):
        raise UsageError(f"--every must be a number of seconds; received {every}")
    if path.name.strip() in ("", "..") or not path.name.isprintable() or path.name[0] == "." or len(path.name) > 200:
        raise UsageError(f"the name of a class folder must be its label; received {folder!r}: photos/cat")
    within = _folders(path)
    if within:
        raise UsageError(
            f"DIR/LABEL must name the folder of a class; {folder!r} holds {', '.join(within[:3])}: name a class in it, "
            f"{path / 'cat'}"
        )
    others = [name for name in _folders(path.absolute().parent) if name != path.name]
    opened = open_source(source, retry_first=retry_first)
    feed.note_hidden([source])
    if not others and path.parent == pathlib.Path():
        tell(f"note: the class is {path.name!r}; one in this folder is {folder}/LABEL, {path / 'cat'}")
    if not others:
        for line in _ADVICE:
            tell(line)
    with contextlib.ExitStack() as stack:
        if opened.live:
            stack.enter_context(feed.told_changes())
            stack.enter_context(stopped_by_signals())
        taken = Taken()
        try:
            capture(opened, path, every_s=every, count=count, taken=taken, show=_count(path, count))
        finally:  # what was saved is told also where it ends in an error
            _clear()
            if taken.saved or taken.alike or sys.exc_info()[0] is None:
                _tell(taken, source, path)
    if path.exists():
        another = shlex.join(["capture", redacted(source), str(path.parent / "background")])
        train = shlex.join(["train", str(path.parent), "--split", "ordered"])
        tell(f"next:  edgecnn {train if others else another}")
    if taken.damaged and not opened.live:
        raise typer.Exit(ImageError.exit_code)


def _tell(taken: Taken, source: str, path: pathlib.Path) -> None:
    """The record where standard output is no terminal, and the sentence."""
    if sys.stdout is None or not sys.stdout.isatty():
        record = {"type": "capture", "source": redacted(source), "folder": str(path), "saved": taken.saved}
        record |= {"alike": taken.alike, "damaged": taken.damaged}
        print(json.dumps(record, ensure_ascii=False), flush=True)  # noqa: T201
    tell(_sentence(taken, path))


def _folders(path: pathlib.Path) -> list[str]:
    """The folders in a folder, but hidden ones."""
    with contextlib.suppress(OSError):
        return sorted(one.name for one in path.iterdir() if one.is_dir() and one.name[0] != ".")
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
    return said + (f", {taken.damaged:,} not read, the last one {taken.why}" if taken.damaged else "")
