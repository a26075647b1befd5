"""Opening a ``.keras`` file that somebody else made: what is no network of Keras's own layers is refused by name.

The file's description is read first, as JSON, and only what it says is made of Keras's own classes is given to Keras,
with its safe mode on. So no code from the file runs, and the message can name the layer instead of Keras's internals.
"""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import keras

from edgecnn.card import MAX_SIDE
from edgecnn.errors import ModelError, SourceError, printable
from edgecnn_training.export.repairs import every_layer

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_MAX_JSON_BYTES = 64 << 20
_MAX_BYTES = 4 << 30
_HDF5 = b"\x89HDF\r\n\x1a\n"
_RUNS_CODE = frozenset({"FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper", "__lambda__"})
_PLAIN = frozenset(
    {"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__", "__tuple__"}
)
_LONGEST_VERSION = 50
_AGAIN = "load it where it was made and save it with model.save('model.keras')"


@dataclass(frozen=True, slots=True)
class KerasFile:
    """A network from a file, uncompiled.

    Attributes:
        model: As Keras loads it.
        sha256: Of the file, in hex.
        version: Of the Keras that wrote it; empty where the file does not say.
    """

    model: keras.Model
    sha256: str
    version: str


def read(path: Path) -> KerasFile:
    """Load a file.

    Raises:
        SourceError: It does not exist or cannot be read.
        ModelError: No whole ``.keras`` file, or a network that edgecnn cannot take; the message names the layer.
    """
    check_kind(path)
    try:
        return _read(path)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _read(path: Path) -> KerasFile:
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        config, version = _description(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    _refuse_foreign(config)
    model = _load(path, version)
    model.trainable = True  # for the count of parameters: a frozen body has some as well
    _check_input(model)
    for layer in every_layer(model):
        policy = layer.dtype_policy.name
        if policy != "float32":
            raise ModelError(
                f"a network must compute in float32; {_named(layer)} has the dtype policy {policy!r}: build the "
                "network with keras.config.set_dtype_policy('float32'), give it the weights with set_weights, and save "
                "it again"
            )
    return KerasFile(model, sha256, version)


def check_kind(path: Path) -> None:
    """Say what a file is that is no ``.keras`` file, and what to do about it.

    Raises:
        SourceError: It does not exist or cannot be read.
        ModelError: It is something else.
    """
    rule = "a network to export must be a .keras file"
    if not path.exists():
        raise SourceError(f"{rule}; {str(path)!r} does not exist: check the path")
    try:
        what = _other_kind(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    if what:
        raise ModelError(f"{path}: {rule}{what}")


def _other_kind(path: Path) -> str:
    """How the sentence goes on where a file is none; empty where it may be one."""
    if path.is_dir():
        what = "a SavedModel folder" if (path / "saved_model.pb").exists() else "a folder"
        return f"; this is {what}: {_AGAIN}"
    if path.name.endswith(".weights.h5"):
        return "; this holds weights without a network: load them into it and save the whole"
    with path.open("rb") as file:
        begins = file.read(len(_HDF5))
    if begins == _HDF5:
        return (
            "; this is the older HDF5 format: keras.saving.load_model('old.h5', compile=False).save('model.keras') "
            "turns it into one"
        )
    if path.suffix == ".onnx":
        return "; this is named as a file that is exported already: `edgecnn inspect` tells what is in it"
    if not zipfile.is_zipfile(path):
        return ", which is a zip archive; this is none, or only a part of one: copy it anew"
    return "" if path.suffix == ".keras" else ", and its name must end so; if it is one, rename it"


def _description(path: Path) -> tuple[object, str]:
    """What the file says of its network, and the version of Keras that wrote it."""
    try:
        with zipfile.ZipFile(path) as archive:
            missing = sorted({_CONFIG, _WEIGHTS} - set(archive.namelist()))
            if missing:
                raise ModelError(
                    f"a .keras file must hold {_CONFIG} and {_WEIGHTS}; this zip archive lacks {', '.join(missing)}: "
                    f"{_AGAIN}"
                )
            size = sum(entry.file_size for entry in archive.infolist())
            if size > _MAX_BYTES or archive.getinfo(_CONFIG).file_size > _MAX_JSON_BYTES:
                raise ModelError(
                    f"a .keras file must unpack to at most {_MAX_BYTES >> 30} GiB; this one has {size:,} bytes"
                )
            damaged = archive.testzip()
            if damaged is not None:
                raise zipfile.BadZipFile(f"{damaged} is not what was packed")
            config: object = json.loads(archive.read(_CONFIG))
            about = json.loads(archive.read(_METADATA)) if _METADATA in archive.namelist() else {}
    except (
        zipfile.BadZipFile,
        ValueError,
        KeyError,
        RecursionError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"a .keras file must be whole; this one is damaged ({error}): copy it anew") from error
    version = about.get("keras_version", "") if isinstance(about, dict) else ""
    return config, printable(version)[:_LONGEST_VERSION] if isinstance(version, str) else ""


def _refuse_foreign(config: object) -> None:
    """Refuse what is not made of Keras's own classes.

    Raises:
        ModelError: A layer whose code would have to come from the file or from another package; named.
    """
    for entry, name in _objects(config, "?"):
        kind, module = str(entry["class_name"]), entry.get("module")
        own = isinstance(module, str) and module.partition(".")[0] == "keras"
        where = printable(f"layer {name!r}, {kind}" + ("" if own or not module else f" of {module}"))
        rule = f"a network must consist of Keras's own layers, since edgecnn runs no code from a file; received {where}"
        if kind in _RUNS_CODE:
            raise ModelError(
                f"{rule}: write what it does with a layer of Keras, such as Rescaling, or with keras.ops, and save the "
                "network again"
            )
        if kind not in _PLAIN and not own:
            raise ModelError(
                f"{rule}: replace it by layers of Keras and save the network again, or train it as an architecture: "
                "edgecnn train DATA --arch ./my_net.py"
            )


def _objects(value: object, name: str) -> Iterator[tuple[Mapping[str, object], str]]:
    """Every description of an object within a description, with the name of the layer it belongs to."""
    if isinstance(value, list):
        for part in value:
            yield from _objects(part, name)
    if not isinstance(value, dict):
        return
    entry = cast("Mapping[str, object]", value)
    inner = entry.get("config")
    if "class_name" in entry and "config" in entry:
        if isinstance(inner, dict) and isinstance(inner.get("name"), str):
            name = inner["name"]
        yield entry, name
    for key, part in entry.items():
        if key not in ("build_config", "compile_config"):  # shapes; what it was trained with, which is not loaded
            yield from _objects(part, name)


def _load(path: Path, version: str) -> keras.Model:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the optimiser is not loaded
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a file of others may make Keras raise anything
        written = f", which was written by Keras {version}" if version else ""
        raise ModelError(
            f"Keras {keras.__version__} cannot load the file{written} ({type(error).__name__}: {_short(error)}): "
            f"{_AGAIN}, by this version of Keras if another one wrote it"
        ) from error
    if not isinstance(model, keras.Sequential) and type(model).__name__ != "Functional":
        raise ModelError(
            f"a file must hold a network of layers, Sequential or Functional; received {type(model).__name__}"
        )
    return model


def _check_input(model: keras.Model) -> None:
    """Refuse what does not go from one picture to one row of numbers."""
    if not getattr(model, "built", False) or not model.inputs:
        raise ModelError("a network must know its input; begin it with keras.Input((height, width, channels))")
    for what, tensors in (("input, a picture", model.inputs), ("output, a number for each label", model.outputs)):
        if len(tensors) != 1:
            raise ModelError(
                f"a classifier must have one {what}; this one has {len(tensors)}, "
                f"{', '.join(str(tensor.name) for tensor in tensors)}: keras.Model(image, scores) cuts out the part "
                "that has"
            )
    if not isinstance(model, keras.Sequential) and isinstance(model.output, dict):
        raise ModelError(
            "a classifier must give a row of numbers; this one gives a dict: keras.Model(image, scores) cuts out the "
            "part that gives the scores"
        )
    shape = tuple(model.inputs[0].shape)[1:]
    text = f"(N, {', '.join('?' if side is None else str(side) for side in shape)})"
    rule = f"a network must take pictures (N, height, width, 1 or 3); this one takes {text}"
    if len(shape) != 3:
        raise ModelError(f"{rule}: edgecnn exports classifiers of pictures only")
    first = next((layer for layer in every_layer(model) if getattr(layer, "data_format", "") == "channels_first"), None)
    if shape[2] not in (1, 3) and shape[0] in (1, 3):
        raise ModelError(
            f"{rule}, the channels first: build it with the data format channels_last, set_weights, save again"
        )
    if first is not None:
        raise ModelError(
            f"a network must have its channels last; {_named(first)} has them first: build it with channels_last"
        )
    if shape[2] not in (1, 3):
        raise ModelError(f"{rule}: 1 channel is grey, 3 are RGB")
    if shape[0] is None or shape[1] is None:
        raise ModelError(
            f"{rule}, of any size: fix it and save it again, "
            f"image = keras.Input((224, 224, {shape[2]})); keras.Model(image, model(image)).save('fixed.keras')"
        )
    if not all(1 <= side <= MAX_SIDE for side in shape[:2]):
        raise ModelError(f"{rule}: both sides must be 1 to {MAX_SIDE:,} pixels; build it for smaller pictures")
    dtype = str(model.outputs[0].dtype)
    if "float" not in dtype:
        raise ModelError(f"a classifier must give scores, in float32; this one gives {dtype}: leave out what rounds")
    outputs = tuple(model.outputs[0].shape)[1:]
    if len(outputs) != 1 or outputs[0] is None:
        raise ModelError(
            f"a classifier must give a row of numbers, (N, labels); this one gives (N, {outputs}): add Flatten"
        )


def _named(layer: keras.Layer) -> str:
    return f"layer {layer.name!r}, {type(layer).__name__},"


def _short(error: BaseException) -> str:
    text = printable(" ".join(str(error).split()))
    return text if len(text) <= 200 else text[:200] + " …"
