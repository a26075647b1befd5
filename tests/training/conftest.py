from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from shapes import write_shapes

# No test reads or writes the user's caches and settings; here, since Keras is started when tests are collected.
_SCRATCH = tempfile.TemporaryDirectory(prefix="edgecnn-tests-")
for _variable in ("XDG_CACHE_HOME", "KERAS_HOME", "MPLCONFIGDIR"):
    os.environ[_variable] = str(Path(_SCRATCH.name) / _variable.lower())


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """180 grey pictures of three classes, 20×20."""
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="session")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on `shapes`; tests that change it make a copy."""
    from edgecnn_training.backend import start_keras

    start_keras("to test")
    from edgecnn_training import trainer

    path = tmp_path_factory.mktemp("runs") / "shapes"
    changes = {"arch": "micro", "epochs": 4, "batch_size": 16, "learning_rate": 0.02, "rotate": 0.0}
    assert trainer.train(trainer.Request(str(shapes), path, changes=changes))
    return path


@pytest.fixture(scope="session")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run as a float32 file and as an int8 file."""
    from edgecnn_training.export import exporter

    folder = tmp_path_factory.mktemp("models")
    files = {"float32": folder / "float32.onnx", "int8": folder / "int8.onnx"}
    exporter.export(trained, files["float32"], wish=exporter.Wish("none"), data=None, name="shapes")
    exporter.export(trained, files["int8"], wish=exporter.Wish("int8", max_drop=6.0), data=None, name="shapes")
    return files
