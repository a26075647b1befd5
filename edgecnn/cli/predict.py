"""``edgecnn predict``: label the pictures of any sources, results on standard output, all else on standard error."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote, unquote

import typer

from edgecnn import bundled, plugins
from edgecnn.cli import feed
from edgecnn.cli.config import read_config
from edgecnn.cli.options import AllowAnyOp
from edgecnn.cli.streams import guarded_stdout, stopped_by_signals, tell
from edgecnn.errors import EdgecnnError, ImageError, UsageError, did_you_mean

if TYPE_CHECKING:
    from edgecnn.classifier import Classifier
    from edgecnn.frames import Source
    from edgecnn.pipeline import Summary
    from edgecnn.prediction import ErrorResult, Result, Sink

_ENDINGS = {".csv": "csv", ".txt": "table"}
_PICTURES = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def predict(
    model: Annotated[
        str | None,
        typer.Argument(
            help="The .onnx file that `edgecnn export` wrote, or a name of `edgecnn models`.", metavar="MODEL"
        ),
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Pictures, folders, quoted patterns such as 'photos/**/*.jpg', @list.txt, videos, - for standard "
            "input; live: pi, usb:0, rtsp://…, http://…, 'exec:COMMAND', 'stdin:?format=mjpeg', screen:, and test: for "
            "synthetic letters A to J.",
            metavar="SOURCE...",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, max=1000, metavar="K", help="How many labels to give for each picture.")
    ] = 3,
    format: Annotated[
        str,
        typer.Option(
            metavar="auto|table|jsonl|csv",
            help="table, jsonl or csv; auto is a table on a terminal and JSON lines elsewhere, "
            "or what the ending of -o says (.csv, .txt).",
        ),
    ] = "auto",
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Write the results to a file.")] = "",
    to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URI",
            help="Send the results to a URI, such as csv:out.csv, jsonl:-, or images:FOLDER for pictures with the "
            "label drawn below; repeatable.",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Pictures per inference.")] = 1,
    device: Annotated[
        str,
        typer.Option(
            metavar="auto|cpu|cuda|tensorrt|openvino|provider:NAME",
            help="A device named here must start; auto takes CUDA where that starts, else the CPU, and says why.",
        ),
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, metavar="N", help="Threads for one inference; 1 unless given.")
    ] = None,
    self_test: Annotated[
        bool,
        typer.Option("--self-test/--no-self-test", help="Ask the model at load what its card says it answers."),
    ] = True,
    retry_first: Annotated[
        bool,
        typer.Option("--retry-first", help="Wait for a live feed that is not there yet, and not only for a lost one."),
    ] = False,
    stats_every: Annotated[
        float | None,
        typer.Option(min=0.1, max=86_400, metavar="S", help="Tell of a live feed every so many seconds how it goes."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.toml",
            callback=read_config,
            is_eager=True,
            help="Take model, source and options from a file, whose keys are these flags; what is typed wins.",
        ),
    ] = None,
    allow_any_op: AllowAnyOp = False,
) -> None:
    """Label pictures with a model.

    A live feed goes on until Ctrl-C or SIGTERM, and then ends with exit code 0.

    Exit code 0: all were labelled; 1: some could not be read; 2: an option has no meaning; 3: a source is missing, or
    was given up; 4: the model is refused; 5: the device does not start; 6: results cannot be written.
    """
    from edgecnn.classifier import Classifier
    from edgecnn.opening import open_source

    if stats_every is not None and not math.isfinite(stats_every):
        raise UsageError(f"--stats-every must be a number of seconds; received {stats_every}")
    model, sources = _named(model, sources or [], config)
    for target in (output, *map(_target, to or [])):
        _refuse_to_overwrite(target, [model, *([config] if config else []), *map(_place, sources)])
    only_to = to and not output and format == "auto"
    sinks = ([] if only_to else [_first_sink(format, output)]) + (to or [])
    with (
        contextlib.ExitStack() as outermost,
        guarded_stdout(),
        Classifier(model, device=device, threads=threads, self_test=self_test, allow_any_op=allow_any_op) as classifier,
    ):
        source = open_source(*sources, retry_first=retry_first)
        feed.note_hidden(sources)
        if source.live:
            outermost.enter_context(feed.told_changes())
            outermost.enter_context(stopped_by_signals())  # also while the end of the results waits for their reader
        summary = _predict(classifier, source, sinks, top=top, batch=batch, stats_every=stats_every)
    tell(feed.sentence(summary, live=source.live))
    if summary.failures and not (source.live and summary.frames):
        raise typer.Exit(ImageError.exit_code)


def _named(model: str | None, sources: list[str], config: str | None) -> tuple[str, list[str]]:
    """Model and sources, where both are there and each in its place."""
    from edgecnn.opening import is_feed

    example = f"edgecnn predict {bundled.names()[0]} photo.png"
    if not model:
        where = f'{config} names none: add model = "…" to it, or type it' if config else f"received none: {example}"
        raise UsageError(f"a model must be named; {where}")
    behind = next(filter(bundled.is_model, sources), None)
    if behind is not None and not bundled.is_model(model):
        typed = f"edgecnn predict {shlex.quote(behind)} {shlex.quote(model)}"
        raise UsageError(f"the model must stand before the pictures; received {model!r} first: {typed}")
    if os.path.splitext(model)[1].lower() in _PICTURES or (not os.path.lexists(model) and is_feed(model)):
        typed = f"edgecnn predict MODEL {shlex.quote(model)}, with a .onnx file or {', '.join(bundled.names())}"
        raise UsageError(f"a model must stand before what it looks at; received {model!r} first: {typed}")
    if not sources and config:
        raise UsageError(f'a source must be named; {config} names none: add source = ["…"] to it, or type it')
    if not sources:
        raise UsageError(f"a source must be named behind the model; received {model!r} only: {example}")
    return model, sources


def _refuse_to_overwrite(output: str, inputs: list[str]) -> None:
    """Results must not go into a file that is named to be read; what is not text is safe from them anyway."""
    for path in inputs:
        if os.path.exists(output) and os.path.exists(path) and os.path.samefile(path, output):
            raise UsageError(f"results must not overwrite an input; {output!r} is read as {path!r}: name another file")


def _place(source: str) -> str:
    """The file that a source names: a picture, or a list of them."""
    if os.path.lexists(source):
        return source
    return source.partition("?")[0].removeprefix("file:") if source.startswith("file:") else source.removeprefix("@")


def _target(uri: str) -> str:
    """The file that a sink's URI names."""
    return unquote(uri.partition("?")[0].partition(":")[2])


def _predict(
    model: Classifier, source: Source, to: list[str], *, top: int, batch: int, stats_every: float | None
) -> Summary:
    from edgecnn.cli.service import Latest, supervised
    from edgecnn.opening import open_sinks
    from edgecnn.pipeline import Summary, run
    from edgecnn.timing import Timing

    sink = Latest(open_sinks(to, top=top))
    complain = feed.Rationed().tell if source.live else tell
    why = f" ({model.why})" if model.why else ""
    tell(f"{model.card.name}, {model.card.precision}, {len(model.card.labels)} labels, on {model.device}{why}")
    timing, began = Timing(), time.perf_counter()
    with (
        feed.told_regularly(source, timing, stats_every if source.live else None),
        supervised(source, timing, sink),
    ):
        try:
            return run(
                source, model, sink if "table:-" in to else _Complaining(sink, complain), batch=batch, timing=timing
            )
        except EdgecnnError:
            if source.live and timing.labels:  # what it came to is told also where it ends in an error
                counts = getattr(source, "counts", {})
                tell(feed.sentence(Summary(timing.labels, 0, time.perf_counter() - began, counts, timing), live=True))
            raise


class _Complaining:
    """A sink that also tells of every input that failed on standard error, as results may go to a file or a program."""

    def __init__(self, sink: Sink, tell: Callable[[str], None]) -> None:
        self._sink, self._tell = sink, tell
        self.close = sink.close
        self.wants = getattr(sink, "wants", ())

    def write(self, result: Result | ErrorResult) -> None:
        self._sink.write(result)
        error = getattr(result, "error", None)
        if error is not None:
            self._tell(f"{result.source}: {error}; skipped")


def _first_sink(format: str, output: str) -> str:
    """The sink that ``--format`` and ``-o`` stand for."""
    if format == "auto":
        on_terminal = not output and sys.stdout is not None and sys.stdout.isatty()
        format = "table" if on_terminal else _ENDINGS.get(os.path.splitext(output)[1].lower(), "jsonl")
    known = [name for name in plugins.names("edgecnn.sinks") if name != "images"]  # which takes a folder: --to
    if format not in known:
        hint = did_you_mean(format, known)
        raise UsageError(f"--format must be one of auto, {', '.join(known)}; received {format!r}{hint}")
    return f"{format}:{quote(output or '-', errors='surrogateescape')}"
