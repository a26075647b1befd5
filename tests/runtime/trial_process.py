"""A process that opens models and predicts with each once, so that a crash ends it and not the test.

Standard input: for each model its length as 4 bytes, then its bytes. Standard output: a line of JSON for each.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from edgecnn import Classifier
from edgecnn.errors import EdgecnnError, ModelError
from edgecnn.session import load_onnxruntime

MEMORY_BYTES = 2 << 30
_OUT_OF_MEMORY = ("bad_alloc", "failed to allocate", "available memory", "out of memory", "cannot allocate")


def trial(path: Path) -> tuple[str, str]:
    """What became of a model: ``ok``, ``refused`` by the pre-scan or the card, ``failed`` in ONNX Runtime, or a fault.

    Faults are ``memory``, where more than `MEMORY_BYTES` were asked for, and ``exception``.
    """
    try:
        with Classifier(path, device="cpu") as model:
            spec = model.card.input
            size = spec.height * spec.width * spec.channels
            image = (np.arange(size) * 37 % 256).astype(np.uint8)
            model.scores(image.reshape(1, spec.height, spec.width, spec.channels))
    except ModelError as error:
        text = str(error)
        if any(words in text.lower() for words in _OUT_OF_MEMORY):
            return "memory", text
        return ("failed" if "ONNX Runtime" in text else "refused"), text
    except EdgecnnError as error:
        return "refused", str(error)
    except MemoryError as error:
        return "memory", repr(error)
    except Exception as error:
        return "exception", f"{type(error).__name__}: {error}"
    return "ok", ""


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # ONNX Runtime prints
    load_onnxruntime()
    warnings.simplefilter("error")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        while head := sys.stdin.buffer.read(4):
            path.write_bytes(sys.stdin.buffer.read(int.from_bytes(head, "little")))
            began = time.process_time()
            kind, text = trial(path)
            print(json.dumps([kind, text[:500], time.process_time() - began]), file=answers, flush=True)


if __name__ == "__main__":
    main()
