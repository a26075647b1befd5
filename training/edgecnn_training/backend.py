"""Starting Keras and its backend without a screenful of their start-up messages."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from edgecnn.errors import MissingExtraError, UsageError, needs
from edgecnn_training.disk import check_temporary
from edgecnn_training.homes import keep_home_clean
from edgecnn_training.memory import keep_freed_memory

BACKENDS = ("tensorflow", "jax", "torch")


def start_keras(purpose: str, backend: str | None = None) -> None:
    """Import Keras, with the memory allocator set for training.

    Args:
        purpose: Completes "is needed …" where Keras is missing: ``"to train"``.
        backend: One of `BACKENDS`; None takes what ``KERAS_BACKEND`` says, or TensorFlow.

    Raises:
        UsageError: ``KERAS_BACKEND`` names something else.
        MissingExtraError: Keras or its backend is not installed.
        DataError: No temporary file can be written, since the disk is full.
    """
    chosen = backend or os.environ.get("KERAS_BACKEND") or "tensorflow"
    if chosen not in BACKENDS:
        raise UsageError(f"KERAS_BACKEND must be one of {', '.join(BACKENDS)}; received {chosen!r}")
    os.environ["KERAS_BACKEND"] = chosen
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    keep_home_clean()
    keep_freed_memory()
    check_temporary(purpose)
    with _muted_start():
        if chosen == "tensorflow":
            needs("tensorflow", "train", purpose)
        elif importlib.util.find_spec(chosen) is None:
            raise MissingExtraError(
                f"KERAS_BACKEND={chosen} needs the package {chosen!r}, which is not installed: "
                f"pip install {chosen}, or unset KERAS_BACKEND to use TensorFlow"
            )
        elif importlib.util.find_spec("tensorflow") is not None:
            importlib.import_module("tensorflow")  # Keras does so later whatever its backend, and not quietly
        keras = needs("keras", "train", purpose)
        # not what the user's keras.json says: the network's input and the exported file depend on both
        keras.config.set_floatx("float32")
        keras.config.set_image_data_format("channels_last")
        keras.ops.convert_to_numpy(keras.ops.zeros(1))  # the backend's libraries speak at their first operation


@contextmanager
def _muted_start() -> Iterator[None]:
    """Keep what is written to the process's standard error meanwhile, and show it only if the start fails."""
    if sys.stderr is not None:
        sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except Exception:
            log.seek(0)
            os.write(kept, log.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
