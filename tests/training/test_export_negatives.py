from __future__ import annotations

from pathlib import Path

import numpy as np
from edgecnn_training.backend import start_keras

start_keras("to test")

from edgecnn_training import trainer  # noqa: E402  # started above
from edgecnn_training.export.material import of_run  # noqa: E402


def test_what_was_shown_negatives_is_calibrated_on_training_pictures_and_their_negatives(
    shapes: Path, trained: Path, tmp_path: Path
) -> None:
    changes = {"arch": "micro", "epochs": 1, "invert": True}
    assert trainer.train(trainer.Request(str(shapes), tmp_path / "run", changes=changes))
    both, plain = of_run(tmp_path / "run", None, "both").train, of_run(trained, None, "plain").train
    known = {picture.tobytes() for picture in plain.images[plain.rows]}
    assert len(both) == 2 * len(plain)
    assert {picture.tobytes() for picture in both.images[: len(plain)]} == known
    assert {np.invert(picture).tobytes() for picture in both.images[len(plain) :]} == known
