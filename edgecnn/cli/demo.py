"""``edgecnn demo``: the whole way once, on letters that come with edgecnn, with a picture of it at the end.

The demo types the commands that a user would type, each in a process of its own, since the runtime must not import the
training package. What a command says goes to the screen; what it returns as JSON is kept for the picture.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

import typer

from edgecnn.errors import SinkError, UsageError, printable

_EACH = 3  # pictures of each letter that are read one by one
_INTERRUPTED, _CLOSED_PIPE = 130, 141


@dataclass(frozen=True, slots=True)
class Exported:
    """What ``edgecnn export`` says of the file it wrote; `top1` is a share, 0 to 1."""

    precision: str
    size_bytes: int
    top1: float
    n: int

    def __str__(self) -> str:
        return (
            f"{self.precision}, {self.size_bytes / 1000:,.0f} KB, {self.top1 * 100:.1f} % of {self.n:,} letters right"
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What ``edgecnn predict`` says of a picture or a frame."""

    source: str
    label: str
    score: float

    @property
    def truth(self) -> str:
        """The right answer for a picture: the name of the folder it lies in."""
        return pathlib.Path(self.source).parent.name


@dataclass(frozen=True, slots=True)
class Story:
    """What the demo's commands returned.

    Attributes:
        folder: Where everything lies.
        exact: The file with 32-bit numbers.
        chosen: The file with 8-bit numbers, or with 32-bit ones where those were better.
        samples: Answers for test pictures.
        feed: Answers for the frames of the live feed, in order.
        feed_uri: How the feed was named.
    """

    folder: pathlib.Path
    exact: Exported
    chosen: Exported
    samples: list[Answer]
    feed: list[Answer]
    feed_uri: str


def demo(
    output: Annotated[
        pathlib.Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="New folder for all that is made. Default: edgecnn-demo."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only see that everything works: two epochs of training instead of twelve.")
    ] = False,
) -> None:
    """Train, export and try a network that reads letters: some minutes, with a picture at the end."""
    started = time.monotonic()
    if sys.stdout is None:
        raise SinkError("standard output is closed; the demo shows tables there: leave it open")
    if os.path.lexists("glyphs"):
        raise UsageError(
            "the demo reads the data set glyphs, and a file or folder of that name is here: run it elsewhere"
        )
    folder = _make_folder(output)
    try:
        story = _run(folder, quick=quick)
        from edgecnn.cli import demo_picture

        demo_picture.write(story)
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()  # where nothing came into it
    seconds = round(time.monotonic() - started)
    _say("", f"Done in {seconds // 60} min {seconds % 60} s.", "", *_closing(story))


def _make_folder(output: pathlib.Path | None) -> pathlib.Path:
    names = (pathlib.Path("edgecnn-demo" + (f"-{i}" if i > 1 else "")) for i in range(1, 100_000))
    folder = output or next(name for name in names if not name.exists())
    if folder.exists():
        raise UsageError(f"--output must name a new folder; {folder} exists: name another, or leave it out")
    if str(folder).startswith("-") or not str(folder).isprintable():
        raise UsageError(
            f"--output must be printable and not begin with -; received {str(folder)!r}: name another folder"
        )
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise SinkError(
            f"the demo must be able to make its folder; {folder}: {error.strerror}: name another with --output"
        ) from error
    return folder


def _run(folder: pathlib.Path, *, quick: bool) -> Story:
    """Type all commands, with what a newcomer needs to know before each."""
    run, exact, model, samples = (folder / name for name in ("run", "letters-float32.onnx", "letters.onnx", "samples"))
    _say(
        "A small network learns to read the letters A to J, becomes one file, and that file reads.",
        "Lines that begin with $ are commands you could type yourself. After next: stands what one would type then;",
        f"here the demo types it for you. Everything goes into {folder}/.",
    )
    _chapter(
        "1 of 5  Learn from examples",
        "8,921 pictures of letters, from 583 families of fonts. In every epoch the network sees all of them once and",
        "corrects its parameters, the numbers it computes with. Then it is tried on fonts it does not learn from:",
        "that share of right answers is called validation, and it is the one to watch.",
    )
    _command("train", "glyphs", "--recipe", "glyphs", "--run", run, *(("--epochs", 2) if quick else ()))
    _chapter(
        "2 of 5  One file",
        "The network becomes an ONNX file, which runs without Keras. Parity means that it says what Keras says.",
    )
    float32 = _export(run, exact, "--quantize", "none")
    _chapter(
        "3 of 5  A smaller file, if it is as good",
        "The same with 8-bit numbers (int8) instead of 32-bit ones (float32). Both are tried on fonts that the",
        "network has never met. top-1 is the share of right answers; were int8 worse, it would not be taken.",
    )
    chosen = _export(run, model)
    _chapter(
        "4 of 5  Read pictures",
        f"{10 * _EACH} of those test pictures. The folder is the right letter; then come the answer, a score from 0 to",
        "1 that says how sure it is, the time it took, and the next likeliest letters.",
    )
    _command("datasets", "glyphs", "--save", samples, "--split", "test", "--each", _EACH)
    read = _predict(model, str(samples), folder / "samples.jsonl")
    right = sum(answer.truth == answer.label for answer in read)
    _say(f"{right} of {len(read)} are right.")
    _chapter(
        "5 of 5  Read a live feed",
        "test: stands in for a camera, and draws the letters A to J, one after the other, in motion.",
    )
    feed = "test:?frames=10&hold=1&policy=all" if quick else "test:?frames=40&hold=4&policy=all"  # each has its answer
    return Story(folder, float32, chosen, read, _predict(model, feed, folder / "feed.jsonl"), feed)


def _export(run: pathlib.Path, model: pathlib.Path, *options: str) -> Exported:
    record = json.loads(_command("export", run, "-o", model, *options))
    return Exported(record["precision"], record["bytes"], record["top1"], record["n"])


def _predict(model: pathlib.Path, source: str, results: pathlib.Path) -> list[Answer]:
    """Show the answers as a table, and read what went into a file beside it."""
    _command("predict", model, source, "--format", "table", "--to", f"jsonl:{quote(str(results))}", table=True)
    records = map(json.loads, results.read_text(encoding="utf-8").splitlines())
    return [Answer(record["source"], record["label"], record["score"]) for record in records]


def _command(*words: object, table: bool = False) -> str:
    """Type a command: its story goes to the screen, and so do its results where they are a table.

    Returns:
        The JSON that it returned; nothing for a table.

    Raises:
        typer.Exit: It failed, and has said why.
    """
    line = [str(word) for word in words]
    _say("", f"$ edgecnn {shlex.join(line)}")
    # -P: a folder of the user's that is called keras or edgecnn is not imported
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "edgecnn", *line],
        stdout=None if table else subprocess.PIPE,
        encoding="utf-8",
        process_group=0,  # a Ctrl-C reaches it through the demo: once, whether it comes from a terminal or a program
    )
    with process, _passing_on_signals(process):
        out = process.stdout.read() if process.stdout else ""
        code = process.wait()
    if code > 0 and code not in (_INTERRUPTED, _CLOSED_PIPE):
        _say(f"The demo ends here: the command above did not work (exit code {code}); what it says tells why.")
    if code != 0:
        raise typer.Exit(code if code > 0 else 128 - code)
    return out


@contextlib.contextmanager
def _passing_on_signals(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whoever ends the demo ends the command that it runs, which may have something to save."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: process.send_signal(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _chapter(title: str, *lines: str) -> None:
    _say("", f"── {title} ".ljust(100, "─"), *lines)


def _closing(story: Story) -> list[str]:
    folder = shlex.quote(str(story.folder))
    lines = [
        f"Everything is in {story.folder}/:",
        "  demo.png              the picture of it all: open it",
        f"  letters.onnx          the file to copy anywhere: {story.chosen}",
        f"  letters-float32.onnx  before quantisation: {story.exact}",
        "  run/                  the training: report.html, a page with all about it, and the checkpoints",
        "  samples/              the pictures that were read; samples.jsonl and feed.jsonl: the answers",
        "",
        "Now with photos of your own. Sort them into folders, photos/cat/1.jpg and photos/dog/1.jpg, and type",
    ]
    if shutil.which("edgecnn") is None:
        lines.append(f"  . {shlex.quote(os.path.join(sys.prefix, 'bin', 'activate'))}")
    return [
        *lines,
        "  edgecnn train photos/ --run runs/photos",
        "  edgecnn export runs/photos -o photos.onnx",
        "  edgecnn predict photos.onnx a-new-photo.jpg",
        f"To look into the file: edgecnn inspect {folder}/letters.onnx",
    ]


def _say(*lines: str) -> None:
    for line in lines:
        with contextlib.suppress(OSError):  # standard error is full or gone
            print(printable(line), file=sys.stderr, flush=True)  # noqa: T201
