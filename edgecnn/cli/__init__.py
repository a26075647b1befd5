"""The command line. `main` is the only place that prints an exception and chooses an exit code.

Commands import what they need when they run, so that ``edgecnn --help`` needs neither NumPy nor ONNX Runtime.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, NoReturn, cast

import typer
from typer.core import TyperGroup

from edgecnn.cli import cameras, capture, demo, doctor, inspect, models, predict
from edgecnn.errors import EdgecnnError, SinkError, SourceError, printable, redacted

_CLOSED_PIPE = 141  # 128 + SIGPIPE, as the shell reports it


class _Commands(TyperGroup):
    """Typer's group of commands, but for a closed pipe, which Typer turns into exit code 1."""

    def make_context(self, *args: object, **extra: object) -> typer.Context:
        with _closed_pipe_is_quiet():
            return cast(typer.Context, super().make_context(*args, **extra))  # type: ignore[arg-type]

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        with _closed_pipe_is_quiet():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"edgecnn {version('edgecnn')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the program an error arose.")] = False,
) -> None:
    """Train small image classifiers, export them to one file, run it on a Raspberry Pi."""


app.command("predict")(predict.predict)
app.command("inspect")(inspect.inspect)
app.command("models")(models.models)
app.command("capture")(capture.capture)
app.command("cameras")(cameras.cameras)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)


def _mount(package: str) -> None:
    """Add the commands of a package beside the runtime, by name: the runtime must not import it."""
    name = f"{package}.cli"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in (name, package):
            raise
        return
    app.add_typer(module.app)


_mount("edgecnn_training")
_mount("edgecnn_deploy")


def start() -> None:
    """The program ``edgecnn``: `main`, with less waiting before and after it.

    Measured on one picture: fewer rounds of the garbage collector while modules are imported save 8 of 204 ms, leaving
    without taking the interpreter apart saves 23. Training leaves the long way, since TensorFlow has threads to end.
    """
    gc.set_threshold(100_000, 20, 20)
    try:
        main()
    except SystemExit as end:
        if "tensorflow" in sys.modules or not isinstance(end.code, int):
            raise
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # full, closed, or none: told before
                stream.flush()
        os._exit(end.code)


def main() -> None:
    """Run the command line and exit: 0, or the code that ``errors.py`` lists for what went wrong."""
    # Pillow warns of damaged EXIF data and of pictures above a limit that lies above ours; what matters of it we say
    warnings.filterwarnings("ignore", module=r"PIL\.")
    _make_streams_safe()
    _write_warnings_as_notes()
    try:
        app()
    except EdgecnnError as error:
        _report(f"error: {error}")
        sys.exit(error.exit_code)
    except OSError as error:
        _report_system(error)
    except MemoryError:
        _report("error: there must be enough memory; it ran out: use fewer or smaller pictures at a time")
        sys.exit(SourceError.exit_code)
    except RecursionError as error:
        _report(f"error: what is read must not be nested so deeply ({error}); flatten it")
        sys.exit(SourceError.exit_code)
    except Exception as error:
        _report(f"error: a bug in edgecnn, sorry: {type(error).__name__}: {error}")
        _report("run it again as `edgecnn --debug …`, and report what it prints together with the command you typed")
        sys.exit(EdgecnnError.exit_code)


def _make_streams_safe() -> None:
    """Where a stream was closed, or cannot show a letter, that is no reason to fail."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # else print would take standard output
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # JSON is UTF-8, whatever the locale


def _write_warnings_as_notes() -> None:
    """What edgecnn itself warns of is for the user, and not a place in a program."""
    plain = warnings.formatwarning
    own = os.path.dirname(os.path.dirname(__file__)) + os.sep

    def write(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if filename.startswith(own):
            return f"note: {message}\n"
        return plain(message, category, filename, lineno, line)

    warnings.formatwarning = write


def _report_system(error: OSError) -> NoReturn:
    """What the system refused: a name that is too long, a missing permission, a full disk."""
    if error.filename is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # what is left in it would fail again
        _report(f"error: results must be written somewhere; standard output: {error.strerror or error}: name a file")
        sys.exit(SinkError.exit_code)
    _report(f"error: a path must be one that can be used; {error.filename!r}: {error.strerror}: check it")
    sys.exit(SourceError.exit_code)


def _report(message: str) -> None:
    """Print a message on standard error, after the traceback where the user asked for it; passwords are left out."""
    if "--debug" in sys.argv:
        with suppress(OSError):
            print(redacted(traceback.format_exc()), file=sys.stderr)  # noqa: T201
    with suppress(OSError):  # standard error is full or gone; the exit code tells
        print("\n".join(map(printable, redacted(message).splitlines())), file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def _closed_pipe_is_quiet() -> Iterator[None]:
    """End with 141 where the program that read our output has gone (``edgecnn predict … | head -1``)."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # it is None where it was closed
                sys.stdout.flush()  # else Python meets the closed pipe on its way out, and ends with 120
    except BrokenPipeError as error:
        # Python flushes standard output once more when it exits, and would complain there
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        raise typer.Exit(_CLOSED_PIPE) from error
