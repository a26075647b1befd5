"""Distillation: `edgecnn train --teacher RUN`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras
from shapes import write_shapes

start_keras("to test")

from edgecnn_training import checkpoint, networks, teacher  # noqa: E402  # started above
from edgecnn_training.run import Run  # noqa: E402

SHORT = ("--arch", "pico", "--epochs", "2", "--batch-size", "16", "--set", "rotate=0")


@pytest.fixture(scope="module")
def taught(trained: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from edgecnn_training import trainer

    path = tmp_path_factory.mktemp("taught") / "run"
    changes = {"arch": "pico", "epochs": 2, "batch_size": 16, "rotate": 0.0, "teacher": str(trained)}
    assert trainer.train(trainer.Request(str(shapes), path, changes=changes))
    return path


def test_a_run_keeps_its_teacher_and_the_teacher_answers_as_its_own_run_does(taught: Path, trained: Path) -> None:
    run = Run.open(trained)
    images = np.random.default_rng(0).integers(0, 256, (9, 20, 20, 1), np.uint8)
    network = networks.load_network(run, checkpoint.best(run.checkpoints))
    expected = network.predict_on_batch(run.info.normalization(images))
    logits = teacher.load(Run.open(taught), None)(images.astype(np.float32))
    assert logits == pytest.approx(expected, abs=1e-3)  # logits up to some tens, in float32


def test_a_taught_run_resumes_without_the_run_of_its_teacher_and_to_the_same_weights(
    edgecnn: Edgecnn, taught: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(taught, copy)
    recipe = copy / "recipe.toml"
    newest = checkpoint.latest(copy / "checkpoints")
    expected = newest.load().get_weights()
    shutil.rmtree(newest.path)
    assert str(tmp_path.parent) in recipe.read_text()  # an absolute path
    assert edgecnn("train", "--run", copy, "--resume").code == 0
    for ours, theirs in zip(expected, checkpoint.latest(copy / "checkpoints").load().get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


def test_teaching_changes_what_is_learnt(edgecnn: Edgecnn, taught: Path, shapes: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    assert edgecnn("train", shapes, "--run", alone, *SHORT).code == 0
    losses = [json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["train_loss"] for run in (alone, taught)]
    assert losses[0] != losses[1]


def test_a_teacher_that_has_seen_the_pupils_test_pictures_is_refused(
    edgecnn: Edgecnn, trained: Path, shapes: Path, tmp_path: Path
) -> None:
    done = edgecnn("train", shapes, "--run", tmp_path / "x", *SHORT, "--teacher", trained, "--set", "split_seed=7")
    assert done.code == 3
    assert "a teacher must not have seen the pictures that its pupil is tested on" in done.err
    assert not (tmp_path / "x").exists()


def test_a_teacher_of_other_classes_or_sizes_is_refused(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    other = write_shapes(tmp_path / "other", each=20)
    (other / "disc").rename(other / "coin")
    done = edgecnn("train", other, "--run", tmp_path / "x", *SHORT, "--teacher", trained)
    assert done.code == 2
    assert "a teacher must know the same classes" in done.err
    (other / "coin").rename(other / "disc")
    done = edgecnn("train", other, "--run", tmp_path / "x", *SHORT, "--teacher", trained, "--size", "24")
    assert done.code == 2
    assert "a teacher must take the pictures that the network takes, 24x24 with 1" in done.err


def test_a_teacher_that_is_no_run_is_told_before_the_pictures_are_read(edgecnn: Edgecnn, tmp_path: Path) -> None:
    done = edgecnn("train", "nowhere", "--teacher", tmp_path / "none")
    assert done.code == 3
    assert "a run must be a directory that `edgecnn train` made" in done.err


def test_a_damaged_teacher_is_told(taught: Path, tmp_path: Path, edgecnn: Edgecnn) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(taught, copy)
    (copy / teacher.FILE).write_bytes(b"no archive")
    done = edgecnn("train", "--run", copy, "--resume")
    assert done.code == 3
    assert f"{copy / teacher.FILE} is gone or another one than then: put it back" in done.err
    as_an_earlier_version_wrote_it(copy)
    done = edgecnn("train", "--run", copy, "--resume")
    assert done.code == 3
    assert "must hold the run's teacher" in done.err


def as_an_earlier_version_wrote_it(run: Path) -> None:
    (run / "teacher.json").unlink()
    for path in run.glob("checkpoints/*/state.json"):
        values = json.loads(path.read_text())
        del values["settled"]
        path.write_text(json.dumps(values))


def test_another_teacher_is_refused_also_where_its_hash_is_changed_with_it(
    edgecnn: Edgecnn, taught: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(taught, copy)
    shutil.copy(checkpoint.latest(copy / "checkpoints").model_path, copy / teacher.FILE)
    done = edgecnn("train", "--run", copy, "--resume")
    assert done.code == 3
    assert "a run must go on with the teacher it began with" in done.err
    note = copy / "teacher.json"
    for text in (json.dumps({"sha256": checkpoint.sha256(copy / teacher.FILE)}), None):
        note.unlink() if text is None else note.write_text(text)
        done = edgecnn("train", "--run", copy, "--resume")
        assert done.code == 3
        assert f"{note} is gone or another one than then" in done.err
    note.write_text("[]")
    done = edgecnn("train", "--run", copy, "--resume")
    assert done.code == 3
    assert f"{note} is damaged (it must be an object with a sha256)" in done.err


OWN_LAYERS = """
import keras

@keras.saving.register_keras_serializable(package="test_teacher")
class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x

def build(input_shape, classes):
    return keras.Sequential([keras.Input(input_shape), Twice(), keras.layers.Flatten(), keras.layers.Dense(classes)])
"""


def test_a_run_resumes_after_the_file_with_its_teachers_own_layers_is_gone(
    edgecnn: Edgecnn, shapes: Path, tmp_path: Path
) -> None:
    import keras

    (tmp_path / "my_net.py").write_text(OWN_LAYERS)
    own = ("--arch", tmp_path / "my_net.py", "--epochs", "1", "--batch-size", "32", "--no-tensorboard")
    assert edgecnn("train", shapes, "--run", tmp_path / "own", *own).code == 0
    taught = ("--run", tmp_path / "run", *SHORT, "--teacher", tmp_path / "own", "--no-tensorboard")
    assert edgecnn("train", shapes, *taught).code == 0
    shutil.rmtree(checkpoint.latest(tmp_path / "run" / "checkpoints").path)
    (tmp_path / "my_net.py").unlink()
    registered = keras.saving.get_custom_objects()
    del registered["test_teacher>Twice"]  # as in a new process
    done = edgecnn("train", "--run", tmp_path / "run", "--resume", "--no-tensorboard")
    assert done.code == 0, done.err
    architecture = tmp_path / "run" / teacher.ARCHITECTURE
    architecture.write_text(architecture.read_text().replace("2 *", "3 *"))
    done = edgecnn("train", "--run", tmp_path / "run", "--resume", "--no-tensorboard")
    assert done.code == 3
    assert f"{architecture} is gone or another one than then" in done.err
    del registered["test_teacher>Twice"]
    done = edgecnn("evaluate", tmp_path / "own", shapes)
    assert done.code == 3
    assert f"the architecture's file {tmp_path / 'my_net.py'} is gone: put it back" in done.err


def test_an_unfinished_teacher_is_noted(edgecnn: Edgecnn, trained: Path, shapes: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(trained, half)
    shutil.rmtree(checkpoint.latest(half / "checkpoints").path)
    short = (*SHORT, "--no-tensorboard")
    done = edgecnn("train", shapes, "--run", tmp_path / "run", *short, "--teacher", half)
    assert done.code == 0
    assert f"note: the teacher {half} is not finished, 3 of 4 epochs are done" in done.err
