"""edgecnn: run small image classifiers, exported to one ONNX file, on a GPU, a desktop CPU or a Raspberry Pi.

The names below are imported when they are first used, so that ``import edgecnn`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgecnn.card import ModelCard
    from edgecnn.classifier import Classifier
    from edgecnn.errors import EdgecnnError
    from edgecnn.frames import Frame
    from edgecnn.opening import open_sinks, open_source
    from edgecnn.pipeline import run
    from edgecnn.prediction import Prediction

_HOME = {
    "Classifier": "classifier",
    "EdgecnnError": "errors",
    "Frame": "frames",
    "ModelCard": "card",
    "Prediction": "prediction",
    "open_sinks": "opening",
    "open_source": "opening",
    "run": "pipeline",
}

__all__ = [
    "Classifier",
    "EdgecnnError",
    "Frame",
    "ModelCard",
    "Prediction",
    "open_sinks",
    "open_source",
    "run",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'edgecnn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edgecnn.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(set(__all__) | set(globals()))
