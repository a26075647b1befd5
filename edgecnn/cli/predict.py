"""``edgecnn predict``: label the pictures of any sources, results on standard output, all else on standard error."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote, unquote

import typer

from edgecnn import plugins
from edgecnn.cli.options import AllowAnyOp
from edgecnn.errors import ImageError, UsageError, printable

if TYPE_CHECKING:
    from edgecnn.classifier import Classifier
    from edgecnn.frames import Source
    from edgecnn.pipeline import Summary
    from edgecnn.prediction import ErrorResult, Result, Sink

_ENDINGS = {".csv": "csv", ".txt": "table"}


def predict(
    model: Annotated[str, typer.Argument(help="The .onnx file that `edgecnn export` wrote.", metavar="MODEL")],
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, folders, quoted patterns such as 'photos/**/*.jpg', - for standard input, "
            "or test: for a synthetic live feed of the letters A to J.",
            metavar="SOURCE...",
        ),
    ],
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
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="A device named here must start.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, metavar="N", help="Threads for one inference; 1 unless given.")
    ] = None,
    self_test: Annotated[
        bool,
        typer.Option("--self-test/--no-self-test", help="Ask the model at load what its card says it answers."),
    ] = True,
    allow_any_op: AllowAnyOp = False,
) -> None:
    """Label pictures with a model.

    A live feed goes on until Ctrl-C or SIGTERM, and then ends with exit code 0.

    Exit code 0: all were labelled; 1: some could not be read; 3: a source is missing; 4: the model is refused.
    """
    from edgecnn.classifier import Classifier
    from edgecnn.pipeline import open_source

    _refuse_swapped(model, sources)
    for target in (output, *map(_target, to or [])):
        _refuse_to_overwrite(target, [model, *sources])
    only_to = to and not output and format == "auto"
    sinks = ([] if only_to else [_first_sink(format, output)]) + (to or [])
    with (
        contextlib.ExitStack() as outermost,
        _guarded_stdout(),
        Classifier(model, device=device, threads=threads, self_test=self_test, allow_any_op=allow_any_op) as classifier,
    ):
        source = open_source(*sources)
        if source.live:
            outermost.enter_context(_stopped_by_signals())  # also while the end of the results waits for their reader
        summary = _predict(classifier, source, sinks, top=top, batch=batch)
    _tell(_sentence(summary, live=source.live))
    if summary.failures:
        raise typer.Exit(ImageError.exit_code)


def _refuse_swapped(model: str, sources: list[str]) -> None:
    """Say so where the model stands behind the pictures."""
    behind = next((source for source in sources if source.lower().endswith(".onnx")), None)
    if behind is not None and not model.lower().endswith(".onnx"):
        typed = f"edgecnn predict {shlex.quote(behind)} {shlex.quote(model)}"
        raise UsageError(f"the model must stand before the pictures; received {model!r} first: {typed}")


def _refuse_to_overwrite(output: str, inputs: list[str]) -> None:
    """Results must not go into a file that is named to be read; what is not text is safe from them anyway."""
    for path in inputs:
        if os.path.exists(output) and os.path.exists(path) and os.path.samefile(path, output):
            raise UsageError(f"results must not overwrite an input; {output!r} is read as {path!r}: name another file")


def _target(uri: str) -> str:
    """The file that a sink's URI names."""
    return unquote(uri.partition("?")[0].partition(":")[2])


def _predict(model: Classifier, source: Source, to: list[str], *, top: int, batch: int) -> Summary:
    from edgecnn.pipeline import open_sinks, run

    sink = open_sinks(to, top=top)
    _tell(f"{model.card.name}, {model.card.precision}, {len(model.card.labels)} labels, on {model.device}")
    return run(source, model, sink if "table:-" in to else _Complaining(sink), batch=batch)


class _Complaining:
    """A sink that also tells of every input that failed on standard error, as results may go to a file or a program."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.close = sink.close
        self.wants = getattr(sink, "wants", ())

    def write(self, result: Result | ErrorResult) -> None:
        self._sink.write(result)
        error = getattr(result, "error", None)
        if error is not None:
            _tell(f"{result.source}: {error}; skipped")


def _first_sink(format: str, output: str) -> str:
    """The sink that ``--format`` and ``-o`` stand for."""
    if format == "auto":
        on_terminal = not output and sys.stdout is not None and sys.stdout.isatty()
        format = "table" if on_terminal else _ENDINGS.get(os.path.splitext(output)[1].lower(), "jsonl")
    known = plugins.names("edgecnn.sinks")
    if format not in known:
        raise UsageError(f"--format must be one of auto, {', '.join(known)}; received {format!r}")
    return f"{format}:{quote(output or '-', errors='surrogateescape')}"


def _sentence(summary: Summary, *, live: bool) -> str:
    frames, seconds = summary.frames, summary.seconds
    failed = f"; {summary.failures} could not be read" if summary.failures else ""
    if live:
        return (
            f"{frames:,} frame{'s' if frames != 1 else ''} in {seconds:.1f} s: {frames / seconds:.1f} labels/s{failed}"
        )
    each = f", {seconds / frames * 1000:.1f} ms each" if frames else ""
    return f"{frames:,} picture{'s' if frames != 1 else ''} in {seconds:.2f} s{each}{failed}"


def _tell(message: str) -> None:
    with contextlib.suppress(OSError):  # standard error is full or gone, and what goes there is not what was asked for
        print(printable(message), file=sys.stderr, flush=True)  # noqa: T201


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM (``kill``, systemd, Docker) stop a live feed as Ctrl-C does; a second signal ends it at once.

    A signal that is ignored, as Ctrl-C is by a shell's background job, stays so. Outside the main thread, where Python
    takes none, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _guarded_stdout() -> Iterator[None]:
    """Keep standard output for results: what libraries print there (ONNX Runtime does) goes to standard error.

    Results are UTF-8 whatever the terminal's locale says, as JSON must be.
    """
    try:
        descriptor = os.dup(sys.stdout.fileno())
    except (AttributeError, io.UnsupportedOperation):  # closed, or replaced by a test
        yield
        return
    plain = sys.stdout
    plain.flush()
    sys.stdout = open(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n")  # noqa: SIM115
    os.dup2(2, plain.fileno())
    try:
        yield
    finally:
        results, sys.stdout = sys.stdout, plain
        os.dup2(descriptor, plain.fileno())
        with contextlib.suppress(OSError):  # what could not be written has been told
            results.close()
