"""Starting Keras and its backend without a screenful of their start-up messages."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from edgecnn.errors import needs


def start_keras(purpose: str) -> None:
    """Import Keras; TensorFlow is the backend unless ``KERAS_BACKEND`` names another.

    Args:
        purpose: Completes "is needed …" where Keras is missing: ``"to train"``.

    Raises:
        MissingExtraError: Keras or its backend is not installed.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _muted_start():
        if os.environ["KERAS_BACKEND"] == "tensorflow":
            needs("tensorflow", "train", purpose)
        keras = needs("keras", "train", purpose)
        keras.ops.convert_to_numpy(keras.ops.zeros(1))  # the backend's libraries speak at their first operation


@contextmanager
def _muted_start() -> Iterator[None]:
    """Keep what is written to the process's standard error meanwhile, and show it only if the start fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(kept, log.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
