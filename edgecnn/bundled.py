"""Models that come with edgecnn: ``models/NAME.onnx``, and beside it ``NAME.toml``, which tells how it was made.

The file's name is the model's name, and works wherever a MODEL is taken. Two more files are one more model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecnn.errors import ModelError

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
    if path.is_dir() and name in names():
        raise ModelError(
            f"{name}: a model must be a file; the folder of this name hides the model that comes with edgecnn: "
            "type the command in another folder"
        )
    if path.exists():
        return path
    if name in names() and not path.is_symlink():
        return file(name)
    raise ModelError(f"{name}: no such file; name the file that `edgecnn export` wrote, or {one_of_them(name)}")


def one_of_them(received: str) -> str:
    """What could have been named instead, for the end of a message: ``one of digits, letters; did you mean …?``."""
    import difflib  # here: it costs a prediction's start 2 ms

    close = difflib.get_close_matches(received, names(), n=1)
    return f"one of {', '.join(names())}" + (f"; did you mean {close[0]!r}?" if close else "")
