"""``edgecnn predict``: label the pictures of any sources, results on standard output, all else on standard error."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from edgecnn import plugins
from edgecnn.errors import ImageError, UsageError, printable

if TYPE_CHECKING:
    from edgecnn.classifier import Classifier
    from edgecnn.pipeline import Summary
    from edgecnn.prediction import ErrorResult, Result, Sink

_ENDINGS = {".csv": "csv", ".txt": "table"}


def predict(
    model: Annotated[str, typer.Argument(help="The .onnx file that `edgecnn export` wrote.", metavar="MODEL")],
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, folders, quoted patterns such as 'photos/**/*.jpg', or - for standard input.",
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
        typer.Option(metavar="URI", help="Send the results to a URI, such as csv:out.csv or jsonl:-; repeatable."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Pictures per inference.")] = 1,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="A device named here must start.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, metavar="N", help="Threads for one inference; 1 unless given.")
    ] = None,
) -> None:
    """Label pictures with a model.

    Exit code 0: all were labelled; 1: some could not be read; 3: a source is missing; 4: the model is refused.
    """
    from edgecnn.classifier import Classifier

    _refuse_to_overwrite(output, [model, *sources])
    only_to = to and not output and format == "auto"
    sinks = ([] if only_to else [_first_sink(format, output)]) + (to or [])
    with _guarded_stdout(), Classifier(model, device=device, threads=threads) as classifier:
        summary = _predict(classifier, sources, sinks, top=top, batch=batch)
    _tell(_sentence(summary))
    if summary.failures:
        raise typer.Exit(ImageError.exit_code)


def _refuse_to_overwrite(output: str, inputs: list[str]) -> None:
    """Results must not go into a file that is named to be read; what is not text is safe from them anyway."""
    for path in inputs:
        if os.path.exists(output) and os.path.exists(path) and os.path.samefile(path, output):
            raise UsageError(f"-o must not overwrite an input; {output!r} is read as {path!r}: name another file")


def _predict(model: Classifier, uris: list[str], to: list[str], *, top: int, batch: int) -> Summary:
    from edgecnn.pipeline import open_sinks, open_source, run

    source = open_source(*uris)
    sink = open_sinks(to, top=top)
    _tell(f"{model.card.name}, {model.card.precision}, {len(model.card.labels)} labels, on {model.device}")
    return run(source, model, sink if "table:-" in to else _Complaining(sink), batch=batch)


class _Complaining:
    """A sink that also tells of every input that failed on standard error, as results may go to a file or a program."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.close = sink.close

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


def _sentence(summary: Summary) -> str:
    count = summary.frames + summary.failures
    each = f", {summary.seconds / count * 1000:.1f} ms each" if count else ""
    failed = f"; {summary.failures} could not be read" if summary.failures else ""
    return f"{count:,} picture{'s' if count != 1 else ''} in {summary.seconds:.2f} s{each}{failed}"


def _tell(message: str) -> None:
    print(printable(message), file=sys.stderr)  # noqa: T201


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
