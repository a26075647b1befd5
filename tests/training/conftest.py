from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from shapes import write_shapes


@pytest.fixture(scope="session", autouse=True)
def _caches_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("XDG_CACHE_HOME")
    if before is not None:
        os.environ["XDG_CACHE_HOME"] = before


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
    exporter.export(trained, files["float32"], quantize="none", data=None, name="shapes")
    exporter.export(trained, files["int8"], quantize="int8", max_drop=6.0, data=None, name="shapes")
    return files
