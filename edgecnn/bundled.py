"""Models that come with edgecnn: ``models/NAME.onnx``, and beside it ``NAME.toml``, which tells how it was made.

The file's name is the model's name, and works wherever a MODEL is taken. Two more files are one more model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgecnn.errors import ModelError, close, did_you_mean

FOLDER = Path(__file__).with_name("models")


@dataclass(frozen=True, slots=True)
class Making:
    """How a model was made, and what its card does not say.

    Attributes:
        description: What it tells apart.
        data: The file or folder that it learned from, below the folder that docs/measured.md describes; empty where it
            comes with edgecnn.
        commands: What was typed, where that file or folder lay.
        hardware: On what, and how long the training took.
        source: Whose pictures they are, and their licence.
        licence: Of the model file.
        limits: What it is not good for.
        elsewhere: How many it has right (``correct``) of how many (``n``) pictures of another kind than the card's, by
            what these are.
    """

    description: str
    data: str
    commands: Sequence[str]
    hardware: str
    source: str
    licence: str
    limits: str
    elsewhere: Mapping[str, Mapping[str, int]]


def names() -> list[str]:
    """Sorted names of the models that come with edgecnn."""
    return sorted(path.stem for path in FOLDER.glob("*.onnx"))


def making(name: str) -> Making:
    """How a model that comes with edgecnn was made.

    Raises:
        ModelError: The installation is damaged.
    """
    import tomllib  # here: a prediction has no use for it

    path = FOLDER / f"{name}.toml"
    try:
        return Making(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: this file of edgecnn is damaged ({error}): install edgecnn again") from error


def file(name: str) -> Path:
    """The file of a model that comes with edgecnn."""
    return FOLDER / f"{name}.onnx"


def find(model: str | os.PathLike[str]) -> Path:
    """The file that is meant by a MODEL: what exists is a path before it is a name.

    Raises:
        ModelError: It is neither; the message lists the names.
    """
    path, name = Path(model), os.fspath(model)
    if not name:
        raise ModelError(f"a model must be named; received an empty text: a .onnx file, or {one_of_them(name)}")
    if path.is_dir() and name in names():
        raise ModelError(
            f"{name}: a model must be a file; the folder of this name hides the model that comes with edgecnn: "
            "type the command in another folder"
        )
    if path.is_dir() and (meant := _likely(path)):
        raise ModelError(f"{name}: a model must be a file; this is a folder{meant}")
    if path.exists():
        return path
    if name in names() and not path.is_symlink():
        return file(name)
    known = ", ".join(names())
    raise ModelError(
        f"{name}: no such file; name the file that `edgecnn export` wrote, or one of {known}{_likely(path)}"
    )


def one_of_them(received: str) -> str:
    """What could have been named instead, for the end of a message: ``one of digits, letters; did you mean …?``."""
    return f"one of {', '.join(names())}{did_you_mean(received, names())}"


def is_model(text: str) -> bool:
    """Whether a word on the command line can only be meant as a MODEL: an ``.onnx`` file, or a name that is no path."""
    return text.lower().endswith(".onnx") or (text in names() and not os.path.lexists(text))


def _likely(path: Path) -> str:
    """What else was meant by a path where no model is: one beside it, or one that comes with edgecnn."""
    with suppress(OSError):
        beside = {other.name: str(other) for other in path.parent.glob("*.onnx") if other.is_file()}
        near = [f"{path.name}.onnx"] if f"{path.name}.onnx" in beside else close(path.name, [*names(), *beside])
        return f"; did you mean {beside.get(near[0], near[0])!r}?" if near and near[0] != str(path) else ""
    return ""
