"""The training commands: train, evaluate, export and the lists.

This module imports only Typer, so that ``edgecnn --help`` shows every command everywhere, at once. What a command needs
is imported when it runs; where the extra ``train`` is not installed, that is a message.

SIGTERM ends these commands as Ctrl-C does: what is half-written is removed, a training in its epochs saves a
checkpoint, and the exit code is 130, since the work is not done. (Code 0 is for live feeds, which have no other end.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _terminable(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """A command that SIGTERM interrupts like Ctrl-C; where that is ignored, or handled by others, it stays so."""

    @functools.wraps(command)
    def run(*arguments: _P.args, **options: _P.kwargs) -> _R:
        import signal
        import threading

        ours = threading.current_thread() is threading.main_thread()
        if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return command(*arguments, **options)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return command(*arguments, **options)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    return run


@app.command()
@_terminable
def train(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="Folder of class folders, an archive of one (.tar, .tar.gz, .tar.xz, .zip), a folder with IDX files, "
            "a CSV or JSONL manifest, an .npz, or a name; see `edgecnn datasets`. May be left out with --resume.",
            show_default=False,
        ),
    ] = None,
    arch: Annotated[
        str | None, typer.Option(help="Network: a name of `edgecnn architectures`, or a file. Default: small.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A name of `edgecnn recipes`, or a TOML file. Default: default.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Directory for the run. Default: a new one below runs/.", show_default=False)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures per step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Size for the network in pixels: 64, or HEIGHTxWIDTH. Default: the pictures' own if all are equal and "
            "at most 64, else 64; 224 for a network keras:NAME."
        ),
    ] = None,
    channels: Annotated[int | None, typer.Option(help="1 for grey, 3 for RGB. Default: as the pictures.")] = None,
    fit: Annotated[
        str | None, typer.Option(help="How pictures come to that size: crop, stretch or pad. Default: crop.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="random, or ordered: the last tenths by file name, for bursts and video. Default: random."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="imagenet|PATH|none",
            help="What a network keras:NAME begins with; its head is trained first, then all of it. Default: none.",
            show_default=False,
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="A finished run on the same data, of a larger network, to learn from as well (distillation).",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Start of the training's random numbers. Default: 0.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other key of the recipe; repeatable."),
    ] = None,
    allow_leak: Annotated[
        bool,
        typer.Option(
            "--allow-leak", help="Go on although DATA's own test split holds pictures of train or validation."
        ),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard/--no-tensorboard", help="Whether to write TensorBoard's files into the run.")
    ] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted --run.")] = False,
) -> None:
    """Train a network on pictures of your own; makes a run directory."""
    from edgecnn.errors import UsageError
    from edgecnn_training.backend import start_keras
    from edgecnn_training.options import parse_size, recipe_changes, refuse_empty

    texts = {"DATA": data, "--arch": arch, "--recipe": recipe, "--weights": weights, "--fit": fit, "--split": split}
    refuse_empty(texts)
    given = {
        "arch": arch,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "weights": weights,
        "teacher": None if teacher is None else str(teacher),
    }
    if resume:
        others = {"recipe": recipe, "size": size, "channels": channels, "fit": fit, "split": split, "set": set_}
        others["allow_leak"] = allow_leak or None
        changed = [f"--{key.replace('_', '-')}" for key, value in (given | others).items() if value is not None]
        if run is None:
            raise UsageError("--resume goes on with a run; name it with --run")
        if changed:
            raise UsageError(
                f"--resume goes on with the run's own recipe and finishes it; leave out {', '.join(changed)}, or start "
                "another run with them: --run of its own, without --resume"
            )
        start_keras("to train")
        from edgecnn_training import trainer

        finished = trainer.resume(run, data, tensorboard=tensorboard)
    else:
        if data is None:
            raise UsageError("DATA must be named, for instance: edgecnn train photos/")
        changes, pixels = recipe_changes(given, set_ or []), parse_size(size)
        start_keras("to train")
        from edgecnn_training import trainer

        request = trainer.Request(
            data=data,
            run=run,
            recipe=recipe or "default",
            changes=changes,
            size=pixels,
            channels=channels,
            fit=fit or "crop",
            split=split or "random",
            allow_leak=allow_leak,
            tensorboard=tensorboard,
        )
        finished = trainer.train(request)
    if not finished:
        raise typer.Exit(130)


@app.command()
@_terminable
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN|MODEL", help="A run directory, an exported .onnx file, or a name of `edgecnn models`."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="As for `edgecnn train`; its test split, or all of it. Left out, a RUN's own held-out pictures.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write what was said of each picture to this CSV file, mistakes first."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    confusion: Annotated[
        Path | None, typer.Option(help="Write the confusion matrix to this PNG. Default: into the RUN.")
    ] = None,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Go on although the run has seen some of the pictures.")
    ] = False,
    allow_any_op: Annotated[
        bool,
        typer.Option(
            "--allow-any-op", help="Also take a model file with operators that edgecnn does not know; if you trust it."
        ),
    ] = False,
) -> None:
    """Measure the accuracy of a run or of an exported model on labelled pictures."""
    from edgecnn_training import evaluate as evaluation
    from edgecnn_training.options import refuse_empty

    refuse_empty({"RUN|MODEL": model, "DATA": data})
    options = evaluation.Options(as_json, output, confusion, allow_leak, allow_any_op)
    if evaluation.evaluate_command(model, data, options):
        raise typer.Exit(1)


@app.command()
@_terminable
def export(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|MODEL.keras", help="Directory that `edgecnn train` made, or a classifier of Keras."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.")] = Path("model.onnx"),
    quantize: Annotated[
        str,
        typer.Option(
            metavar="auto|int8|float16|none",
            help="auto: the best file that loses no accuracy; int8 or float16: one of these or none; none: float32.",
        ),
    ] = "auto",
    max_drop: Annotated[
        float, typer.Option(help="Percentage points of accuracy that the file may lose against float32.")
    ] = 0.5,
    prove: Annotated[
        bool, typer.Option("--prove", help="The 95 % upper bound of the loss must be within --max-drop too.")
    ] = False,
    target: Annotated[
        str,
        typer.Option(
            metavar="any|host|pi3|pi4|pi5|gpu",
            help="The machine it is for; host goes by the time measured here, the others by size and a table.",
        ),
    ] = "any",
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="The file also tells where it looks: a second output, activation_map; see docs/export.md."
        ),
    ] = False,
    layers: Annotated[
        bool, typer.Option("--layers", help="Show each layer's noise in int8 and its times here; RUN/layers.csv.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="Where the run's data lies now, if it moved. For a MODEL.keras: labelled pictures to calibrate and "
            "measure with; without them it is not quantised to int8."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="For a MODEL.keras: a text with a label on each line, in the order of its outputs."),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="S",
            help="For a MODEL.keras: it expects x·S + O of a pixel x of 0 to 255. 1/255, or S,S,S by channel.",
        ),
    ] = None,
    offset: Annotated[str | None, typer.Option(metavar="O", help="See --scale.")] = None,
    fit: Annotated[
        str | None,
        typer.Option(help="For a MODEL.keras: how pictures come to its size, crop, stretch or pad. Default: crop."),
    ] = None,
    input: Annotated[
        str,
        typer.Option(
            metavar="fixed|any",
            help="fixed: the file takes pictures of the network's size; any: of any size, and scales them itself.",
        ),
    ] = "fixed",
    name: Annotated[str | None, typer.Option(help="Name in the model's card. Default: the file's.")] = None,
) -> None:
    """Turn a run into one ONNX file, the smallest that loses at most --max-drop points of accuracy, and prove it.

    A classifier that Keras saved (MODEL.keras) is taken as well; --labels, --scale and --offset say what it does not.
    """
    from edgecnn.errors import UsageError
    from edgecnn_training.backend import start_keras
    from edgecnn_training.options import refuse_empty

    refuse_empty({"--data": data, "--name": name})
    start_keras("to export", backend="tensorflow")  # whatever it was trained with: tf2onnx converts TensorFlow
    from edgecnn_training.export import exporter

    wish = exporter.Wish(quantize, max_drop, prove, target, explain, input, layers)
    if _is_keras_file(model):
        from edgecnn_training.export import foreign

        request = foreign.Request(model, labels, scale, offset, "crop" if fit is None else fit, data)
        foreign.export(request, output, wish=wish, name=name)
        return
    given = {"--labels": labels, "--scale": scale, "--offset": offset, "--fit": fit}
    if wrong := [option for option, value in given.items() if value is not None]:
        raise UsageError(
            f"{', '.join(wrong)} must go with a MODEL.keras; {model} is none, and a run knows all of it: leave it out"
        )
    exporter.export(model, output, wish=wish, data=data, name=name)


def _is_keras_file(path: Path) -> bool:
    """Whether a path is, or is meant as, a file of Keras; of a folder of TensorFlow it is then told what to do."""
    meant = path.suffix in (".keras", ".h5", ".hdf5") and not (path / "run.json").exists()
    return meant or path.is_file() or (path / "saved_model.pb").exists()


@app.command()
def architectures() -> None:
    """List the networks."""
    _list("architectures", ("keras:NAME", "A network of keras.applications, such as keras:MobileNetV3Small."))


@app.command()
@_terminable
def datasets(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA", help="A data set to save pictures of, as for `edgecnn train`.", show_default=False
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Write pictures of DATA into this new folder, a folder per class.", show_default=False),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Save this split only: train, validation or test.", show_default=False)
    ] = None,
    each: Annotated[
        int | None, typer.Option(metavar="N", help="Save so many of each class. Default: all.", show_default=False)
    ] = None,
) -> None:
    """List the kinds of data sets that can be read, or save pictures of one to look at them."""
    from edgecnn.errors import UsageError

    if data is None:
        if save is not None or split is not None or each is not None:
            raise UsageError("--save, --split and --each need DATA: edgecnn datasets glyphs --save letters")
        _list("datasets")
        return
    if save is None:
        raise UsageError(f"DATA goes with --save FOLDER, for instance: edgecnn datasets {data} --save pictures")
    from edgecnn_training import samples

    samples.save(data, save, split=split, each=each)


@app.command()
def recipes() -> None:
    """List the recipes."""
    from edgecnn_training import recipe

    _print((name, recipe.read(name).description) for name in recipe.names())


def _list(package: str, *more: tuple[str, str]) -> None:
    from edgecnn import plugins

    full = f"edgecnn_training.{package}"
    _print([*((name, plugins.summary(full, name)) for name in plugins.names(full)), *more])


def _print(rows: Iterable[tuple[str, str]]) -> None:
    """Name and description: columns on a terminal, JSON lines otherwise."""
    import json
    import sys

    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    for name, description in rows:
        line = json.dumps({"name": name, "description": description}, ensure_ascii=False)
        typer.echo(f"{name:<{width}}  {description}" if sys.stdout is not None and sys.stdout.isatty() else line)
