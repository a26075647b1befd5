"""What the training commands say: the story on standard error, the result on standard output."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from edgecnn.errors import printable
from edgecnn_training.accuracy import Evaluation


def say(text: str) -> None:
    """A line for the person in front of the screen."""
    shown = "\n".join(map(printable, text.split("\n")))  # names of files and classes come from elsewhere
    with suppress(OSError):  # standard error is full or gone, which is no reason to stop a training
        print(shown, file=sys.stderr, flush=True)  # noqa: T201  # this module is what prints


def on_terminal() -> bool:
    """Whether results go to a terminal; False where standard output was closed."""
    return sys.stdout is not None and sys.stdout.isatty()


def emit(record: Mapping[str, object], text: str) -> None:
    """A command's result: `text` on a terminal; otherwise `record` as a JSON line, and `text` for whoever watches."""
    if on_terminal():
        print(text, flush=True)  # noqa: T201  # this module is what prints
    else:
        say(text)
        print(json.dumps(record, ensure_ascii=False), flush=True)  # noqa: T201  # this module is what prints


def bar() -> Progress:
    """A progress bar on standard error; nothing where that is no terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def counter(what: str) -> Iterator[Callable[[int], None]]:
    """A running count of pictures on a terminal: ``reading 12,000 pictures``."""
    with steps(what) as begins:
        yield lambda count: begins(f"{count:,} pictures")


@contextmanager
def steps(what: str) -> Iterator[Callable[[str], None]]:
    """What is being worked on, on a terminal: ``measuring int8 percentile``."""
    console = Console(stderr=True)
    with console.status(f"{what} …") if console.is_terminal else nullcontext() as status:

        def show(name: str) -> None:
            if status is not None:
                status.update(f"{what} {name}")

        yield show


def word(path: Path | str) -> str:
    """A path as it can be typed into a shell."""
    return shlex.quote(str(path))


def short_path(path: str) -> str:
    """A path as seen from here, where it lies below; otherwise as it is."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def percent(share: float) -> str:
    """``0.9816`` → ``98.2 %``; two decimals between 99 and 100 %, where they begin to matter."""
    return f"{share * 100:.2f} %" if 0.99 < share < 1 else f"{share * 100:.1f} %"


def accuracy(result: Evaluation) -> str:
    """``98.2 % (160 of 163; 95 % interval 94.7–99.4)``, and the mean of the classes where that differs by a point."""
    low, high = result.interval
    counts = f"{result.correct:,} of {result.n:,}"
    text = f"{percent(result.top1)} ({counts}; 95 % interval {low * 100:.1f}–{high * 100:.1f})"
    uneven = abs(result.macro - result.top1) >= 0.01
    return f"{text}, {percent(result.macro)} if every class counts alike" if uneven else text


def table(rows: Sequence[Sequence[str]], indent: str = "", *, words_last: bool = False) -> str:
    """Columns in line: the first one to the left, the others to the right; with `words_last` the last to the left."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        if words_last:
            cells[-1] = others[-1]
        lines.append((indent + "  ".join([first.ljust(widths[0]), *cells])).rstrip())
    return "\n".join(lines)


def progress_line(text: str) -> None:
    """A line of progress where no bar can be drawn: standard error is no terminal."""
    if not sys.stderr.isatty():
        say(text)
