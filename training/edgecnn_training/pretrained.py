"""The weights that a network of ``keras.applications`` begins with: those of ImageNet, or those of a file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError, ModelError, UsageError
from edgecnn_training import applications, homes, run, screen
from edgecnn_training.disk import scratch
from edgecnn_training.finite import is_finite
from edgecnn_training.recipe import Recipe

NONE, IMAGENET = "none", "imagenet"
FILE = "weights.json"
"""A run notes what it began with, so that it does not begin anew with something else."""

_SUFFIXES = (".keras", ".h5", ".hdf5")
_LAYERS = "layer_names"


@dataclass(frozen=True, slots=True)
class Start:
    """Weights of a network without its head.

    Attributes:
        origin: ``"imagenet"`` or the path of a file.
        weights: As ``get_weights`` has them.
    """

    origin: str
    weights: Sequence[npt.NDArray[np.float32]]

    @property
    def sha256(self) -> str:
        """Of all weights, in hex."""
        digest = hashlib.sha256()
        for weight in self.weights:
            digest.update(np.ascontiguousarray(weight).tobytes())
        return digest.hexdigest()

    def put_into(self, network: keras.Model) -> None:
        """Give them to the network with its head; the head's own stay as they are."""
        _set_weights(network, [*self.weights, *network.get_weights()[len(self.weights) :]])

    def write(self, folder: Path) -> None:
        """Note in a run what it began with."""
        run.write_json(folder / FILE, {"weights": self.origin, "sha256": self.sha256})


def absolute(weights: str) -> str:
    """``"none"`` and ``"imagenet"`` as they are, a path so that it is found from everywhere."""
    return weights if weights in (NONE, IMAGENET) else str(Path(weights).absolute())


def read(recipe: Recipe, size: tuple[int, int] | None) -> Start | None:
    """The weights that a recipe names; None for random ones.

    Args:
        recipe: Its architecture, options and weights.
        size: Height and width of the pictures; some networks have other ImageNet weights for other sizes.

    Raises:
        UsageError: The architecture takes no weights, or not with this size and these options.
        DataError: The file is missing, damaged or of another network, or ImageNet's weights could not be downloaded.
    """
    if recipe.weights == NONE:
        return None
    if not applications.is_application(recipe.arch):
        raise UsageError(
            "--weights must go with a network of keras.applications, such as --arch keras:MobileNetV3Small; received "
            f"--weights {recipe.weights} with --arch {recipe.arch}: leave out --weights"
        )
    assert size is not None, "applications.input_for gives a size"
    body = applications.body(recipe.arch, (*size, 3), recipe.options)
    if recipe.weights == IMAGENET:
        _fetch(body, recipe)
    else:
        _read_file(body, Path(recipe.weights), recipe)
    return Start(recipe.weights, body.get_weights())


def begin_again(whole: run.Run, network: keras.Model) -> None:
    """Give a network the weights that its run began with, from where they came.

    Raises:
        DataError: They are gone, or others than they were.
    """
    spec = whole.info.input
    start = read(whole.info.recipe, (spec.height, spec.width))
    if start is None:
        return
    try:
        noted = json.loads((whole.path / FILE).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{whole.path / FILE} is damaged ({error!r}): train again into a new --run") from error
    if noted != start.sha256:
        raise DataError(
            f"a run must begin with the weights it began with; {start.origin} now holds others: put the old file back, "
            "or train again into a new --run"
        )
    start.put_into(network)


def _fetch(body: keras.Model, recipe: Recipe) -> None:
    """ImageNet's weights, which Keras downloads once: it knows the addresses and, of most files, the hashes."""
    arch, shape, folder = recipe.arch, body.input_shape[1:], _cache()
    screen.say(f"{arch}: ImageNet's weights, which Keras keeps in {folder} and downloads where they are not there")
    try:
        with redirect_stdout(sys.stderr if screen.on_terminal() else io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the weights are of another size, which they may well be
            theirs = applications.with_imagenet_weights(arch, shape, recipe.options)
    except (ValueError, OSError) as error:
        if "imagenet" in str(error):
            what = f"{shape[0]}x{shape[1]} and {dict(recipe.options)}"
            raise UsageError(f"{arch} has no ImageNet weights for {what}; Keras says: {_short(error)}") from error
        raise DataError(
            f"ImageNet's weights must be the whole file that Keras publishes; Keras says: {_short(error)} Delete the "
            f"file of {arch} in {folder} and run the command again"
        ) from error
    except Exception as error:  # Keras has nothing narrower for a failed download
        if type(error) is not Exception:
            raise
        raise _not_downloaded(error, folder) from error
    _set_weights(body, theirs.get_weights())
    put_variance_right(body, applications.published_std(arch))
    _prove(body, theirs, arch)


def _prove(body: keras.Model, theirs: keras.Model, arch: str) -> None:
    """Compare our network behind our normalisation with Keras's own behind its ``preprocess_input``."""
    pixels = np.random.default_rng(0).uniform(0, 255, (1, *body.input_shape[1:])).astype(np.float32)
    normalization = applications.normalization(arch)
    assert normalization is not None, "an application has one"
    expected = np.asarray(theirs(applications.preprocess(arch, pixels), training=False))
    apart = float(np.abs(np.asarray(body(normalization(pixels), training=False)) - expected).max())
    if not apart <= 1e-3 * max(1.0, float(np.abs(expected).max())):
        raise ModelError(
            f"{arch} must compute what it does in Keras; its features differ by {apart:.1e}: this is a fault of "
            "edgecnn, please report it with the version of Keras"
        )


def _not_downloaded(error: Exception, folder: Path) -> DataError:
    """The error for weights that are neither here nor can be had, with what to put where."""
    address = re.search(r"https?://\S+", str(error))
    what = address[0].rstrip(":") if address else "the file"
    where = folder / Path(what).name if address else folder
    return DataError(
        f"--weights imagenet needs a file that Keras downloads once, and it cannot ({error}): where there is a "
        f"network, download {what}; then put it here as {where}, or name it with --weights PATH"
    )


def _cache() -> Path:
    """Where Keras keeps downloaded weights; it must be ours to write, else Keras takes a folder that all can write."""
    folder = homes.keras_home() / "models"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_cache(folder, error.strerror or str(error)) from error
    if not os.access(folder, os.W_OK):
        raise _no_cache(folder, "it is not ours to write")
    return folder


def _no_cache(folder: Path, why: str) -> DataError:
    return DataError(f"downloaded weights must be written to {folder}; {why}: set KERAS_HOME to a folder of yours")


def _read_file(body: keras.Model, path: Path, recipe: Recipe) -> None:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"--weights must be imagenet, none or a file with weights; {str(path)!r} {what}")
    if path.suffix not in _SUFFIXES:
        raise DataError(f"a file with weights must be one of Keras, {', '.join(_SUFFIXES)}; received {str(path)!r}")
    try:
        with scratch("to read weights", path.stat().st_size) as folder:
            _load_all(body, _as_keras_knows_it(path, folder, sum(bool(layer.weights) for layer in body.layers)))
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError, zipfile.BadZipFile) as error:
        options = {key: value for key, value in recipe.options.items() if key != "dropout"}
        raise DataError(
            f"{path} must hold weights of {recipe.arch.removeprefix(applications.PREFIX)} with the options {options}, "
            f"written by Keras's save or save_weights; Keras says: {_short(error)}. "
            "Name the file of this very network, or set its options, such as --set 'options={alpha=0.35}'"
        ) from error
    if not is_finite(body):
        raise DataError(
            f"a file with weights must hold finite numbers; some in {path} are not: name another, such as the "
            "checkpoint of an earlier epoch"
        )
    put_variance_right(body, applications.published_std(recipe.arch))


def _load_all(body: keras.Model, path: Path) -> None:
    """Load a file that has weights for every layer: where Keras would go on with a warning, this is a ValueError."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        body.load_weights(path)
    for warning in told:
        if issubclass(warning.category, UserWarning):
            raise ValueError(str(warning.message))


def _as_keras_knows_it(path: Path, folder: Path, layers: int) -> Path:
    """A name by which Keras reads the file as what it is, and of an older file only the first `layers`.

    Keras goes by the name, whatever is inside. Files of Keras 3 may hold more than is asked for, such as a head; those
    of Keras 2, which are the published ones, may not.
    """
    if path.suffix == ".keras":
        return path
    with h5py.File(path) as file:
        group = file.get("model_weights", file)
        old = any(name.startswith(_LAYERS) for name in group.attrs)
        named = folder / ("old.h5" if old else "new.weights.h5")
        weighted = [name for name in _texts(group, _LAYERS) if _texts(group[name], "weight_names")] if old else []
        if len(weighted) <= layers:
            named.symlink_to(path.absolute())
            return named
        with h5py.File(named, "w") as part:
            part.attrs[_LAYERS] = [name.encode() for name in weighted[:layers]]
            for name in weighted[:layers]:
                group.copy(name, part, name=name)
    return named


def _texts(group: h5py.Group, name: str) -> list[str]:
    """A list of texts that Keras 2 has kept with a group, in pieces where it is long."""
    pieces = [group.attrs[name]] if name in group.attrs else []
    while f"{name}{len(pieces)}" in group.attrs:
        pieces.append(group.attrs[f"{name}{len(pieces)}"])
    return [text.decode() if isinstance(text, bytes) else str(text) for piece in pieces for text in piece]


def put_variance_right(body: keras.Model, published: Sequence[float] | None) -> None:
    """Have an EfficientNet scale the pixels as published: its files hold deviations where Keras wants variances.

    Keras puts a second scaling behind the layer, but only with ``weights="imagenet"``. We put the variance right, so
    that the same file gives the same network by whichever way it comes.

    Args:
        body: A network after its weights were set.
        published: The deviations, where they stand for variances; None changes nothing.
    """
    for layer in body.layers:
        if published is not None and isinstance(layer, keras.layers.Normalization):
            mean, variance, count = layer.get_weights()
            if np.allclose(variance, published, atol=1e-3):
                layer.set_weights([mean, variance * np.asarray(published, np.float32), count])
                layer.finalize_state()


def _set_weights(network: keras.Model, weights: Sequence[npt.NDArray[np.float32]]) -> None:
    network.set_weights(weights)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # which set_weights forgets: it would go on with the old mean and variance


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + " …"
