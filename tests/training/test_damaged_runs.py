"""Runs whose files were damaged, edited, or exchanged with those of another run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras

start_keras("to test")

from edgecnn_training import checkpoint, metrics, state  # noqa: E402  # started above
from edgecnn_training.run import Run  # noqa: E402

from edgecnn.errors import DataError  # noqa: E402

Values = dict[str, object]
LINE = {"epoch": 1, "step": 9, "seconds": 0.1, "train_loss": 0.5, "train_top1": 0.9, "validation_top1": 1.0}


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def edit(path: Path, change: Callable[[Values], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def states(run: Path) -> list[Path]:
    return sorted(run.glob("checkpoints/step-*/state.json"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"epoch": None}, "line 2: epoch must be a whole number above 0; received 'None'"),
        ({"epoch": "2"}, "line 2: epoch must be a whole number above 0; received '2'"),
        ({"epoch": 1}, "line 2: epoch must be above that of the line before, 1; received 1"),
        ({"step": -4}, "line 2: step must be a whole number above 0; received '-4'"),
        ({"validation_top1": "x"}, "line 2: validation_top1 must be a finite number; received 'x'"),
        ({"train_loss": float("nan")}, "line 2: train_loss must be a finite number; received 'nan'"),
        ({"train_loss": 10**400}, "line 2: train_loss must be a finite number"),
    ],
)
def test_a_line_of_the_metrics_that_no_training_wrote_is_told(tmp_path: Path, line: Values, message: str) -> None:
    second = LINE | {"epoch": 2, "step": 18} | line
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (LINE, second, LINE | {"epoch": 3, "step": 27})))
    with pytest.raises(DataError, match=message):
        metrics.read(path)


@pytest.mark.parametrize("text", ["[1]", "x\n", '{"epoch": 2'])
def test_a_line_in_the_middle_of_the_metrics_that_is_no_object_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "m").write_text(f"{json.dumps(LINE)}\n{text}\n{json.dumps(LINE)}\n")
    with pytest.raises(DataError, match=r"line 2: .*put the file back as it was, or delete it"):
        metrics.read(tmp_path / "m")


def test_a_half_written_last_line_and_what_follows_a_step_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "m").write_text(json.dumps(LINE) + '\n{"epoch": 2, "st')
    assert metrics.read(tmp_path / "m") == [LINE]
    (tmp_path / "m").write_text(json.dumps(LINE) + "\n[1]\n{}\n")
    assert metrics.read(tmp_path / "m", 9) == [LINE]
    assert metrics.read(tmp_path / "m", 0) == []


def test_damaged_metrics_end_a_training_that_goes_on_with_the_remedy(edgecnn: Edgecnn, copy: Path) -> None:
    path = copy / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    del lines[1]["epoch"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = edgecnn("train", "--run", copy, "--resume", "--no-tensorboard")
    assert done.code == 3
    assert f"each line of {path} must be an epoch that a training wrote; line 2: epoch must be" in done.err
    path.unlink()
    assert edgecnn("train", "--run", copy, "--resume", "--no-tensorboard").code == 0  # the remedy that is told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "x"}, "recipe must be an object, or null; received 'x'"),
        ({"settled": [1]}, "settled must be an object, or null"),
        ({"step": 10**9}, "step must be that of the folder's name; received 1000000000"),
        ({"step": 10**40}, "step must be a whole number, 0 or more"),
        ({"step": -5}, "step must be a whole number, 0 or more; received '-5'"),
        ({"step": True}, "step must be a whole number"),
        ({"epoch": "4"}, "epoch must be a whole number"),
        ({"seeds": [3]}, "seeds must be lists of whole numbers"),
        ({"seeds": None}, "seeds must be lists of whole numbers"),
        ({"sha256": "no"}, "sha256 must be 64 hexadecimal digits"),
        ({"averaged_sha256": 1}, "averaged_sha256 must be 64 hexadecimal digits, or null"),
        ({"validation_top1": float("nan")}, "validation_top1 must be 0 to 1, or null; received 'nan'"),
        ({"validation_top1": 7}, "validation_top1 must be 0 to 1, or null; received '7'"),
        ({"so_far": {"batches": 1}}, "so_far must be numbers batches, loss, top1, seconds, or null"),
    ],
)
def test_a_checkpoint_with_a_wrong_state_is_left_out_with_the_reason(copy: Path, change: Values, message: str) -> None:
    before, newest = states(copy)[-2:]
    edit(newest, lambda values: values.update(change))
    found, damaged = checkpoint.newest_whole(copy / "checkpoints")
    assert found is not None
    assert found.path == before.parent
    assert [one.path for one in damaged] == [newest.parent]
    assert message in damaged[0].why


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 10**5, ""])
def test_a_state_that_is_no_object_is_left_out(copy: Path, text: str) -> None:
    states(copy)[-1].write_text(text)
    assert checkpoint.newest_whole(copy / "checkpoints")[1][0].why.startswith("state.json: ")


def test_a_run_without_a_whole_checkpoint_is_not_begun_anew_without_being_asked(edgecnn: Edgecnn, copy: Path) -> None:
    for path in states(copy):
        path.write_text("{}")
    done = edgecnn("train", "--run", copy, "--resume")
    assert done.code == 3
    assert "holds none, but step-00000027 (state.json: sha256 must be 64 hexadecimal digits" in done.err
    assert f"or delete {copy / 'checkpoints'} to begin this run anew" in done.err
    done = edgecnn("evaluate", copy, "nowhere")
    assert done.code == 3
    assert "holds none, step-00000027 is damaged (state.json: " in done.err


def test_a_damaged_best_checkpoint_is_told_with_what_is_used_instead(
    edgecnn: Edgecnn, copy: Path, shapes: Path
) -> None:
    best = checkpoint.best(copy / "checkpoints")
    (best.path / "state.json").write_text("{")
    instead = checkpoint.best(copy / "checkpoints")
    done = edgecnn("evaluate", copy, shapes)
    assert done.code == 0
    assert f"note: {best.path} is damaged and left out (state.json: no JSON" in done.err
    assert f"the best of the others is used, {instead.path.name} of epoch {instead.state.epoch}" in done.err


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("normalization", {"std": [0]}, "each std must be 1e-06 to 1e+06; received '0'"),
        ("normalization", {"std": [float("nan")]}, "each std must be 1e-06 to 1e+06; received 'nan'"),
        ("normalization", {"std": [-3]}, "each std must be 1e-06 to 1e+06; received '-3'"),
        ("normalization", {"std": [1e-320]}, "each std must be 1e-06 to 1e+06; received '1e-320'"),
        ("normalization", {"std": [10**400]}, "each std must be"),
        ("normalization", {"std": [1, 2]}, "std must be a list with a number for each of 1 channels"),
        ("normalization", {"mean": "x"}, "mean must be a list"),
        ("normalization", {"mean": [True]}, "each mean must be"),
        ("data", {"location": ""}, "a text must stand where '' stands"),
        ("", {"parameters": float("inf")}, "parameters and macs must be whole numbers; received 'inf'"),
        ("", {"parameters": "12"}, "parameters and macs must be whole numbers; received '12'"),
        ("", {"schema": "x"}, "schema must be a whole number above 0; received 'x'"),
        ("", {"schema": -1}, "schema must be a whole number above 0; received '-1'"),
        ("", {"labels": ["a"]}, "labels must be a list of two or more"),
    ],
)
def test_a_run_with_what_cannot_be_right_is_refused(copy: Path, part: str, change: Values, message: str) -> None:
    edit(copy / "run.json", lambda values: (values[part] if part else values).update(change))  # type: ignore[attr-defined]
    with pytest.raises(DataError) as told:
        Run.open(copy)
    assert message in str(told.value)
    assert "put the file back as it was, or train again into a new --run" in str(told.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["labels"].reverse(), "labels = ['disc', 'column', 'bar'] instead of ['bar', 'column', 'disc']"),
        (lambda v: v["normalization"].update(mean=[7.0]), "normalization.mean = [7.0] instead of ["),
        (lambda v: v["input"].update(height=24), "input.height = 24 instead of 20"),
        (lambda v: v["data"].update(hash="0" * 64), "data.hash = '000"),
    ],
)
def test_a_run_is_compared_with_what_its_checkpoint_says_of_it(
    edgecnn: Edgecnn, copy: Path, shapes: Path, tmp_path: Path, change: Callable[[Values], object], message: str
) -> None:
    edit(copy / "run.json", change)
    for arguments in (("evaluate", copy, shapes), ("train", "--run", copy, "--resume")):
        done = edgecnn(*arguments)
        assert (done.code, done.out) == (3, "")
        assert f"{copy / 'run.json'} now has {message}" in done.err
    if "labels" in message:
        done = edgecnn("export", copy, "-o", tmp_path / "m.onnx")
        assert done.code == 3
        assert message in done.err
        assert not (tmp_path / "m.onnx").exists()


def as_an_earlier_version_wrote_it(run: Path) -> None:
    for path in states(run):
        edit(path, lambda values: [values.pop(key) for key in ("settled", "so_far", "recipe")])


def test_a_run_of_an_earlier_version_is_accepted_and_its_labels_are_compared_with_the_data(
    edgecnn: Edgecnn, copy: Path, shapes: Path
) -> None:
    as_an_earlier_version_wrote_it(copy)
    assert edgecnn("evaluate", copy, shapes).code == 0
    edit(copy / "run.json", lambda values: values["labels"].reverse())  # type: ignore[attr-defined]
    done = edgecnn("export", copy, "-o", copy.parent / "m.onnx")
    assert done.code == 3
    assert "must have the labels of its data, in their order ('bar', 'column', 'disc')" in done.err


def test_a_run_of_an_earlier_version_with_another_size_is_told(edgecnn: Edgecnn, copy: Path, shapes: Path) -> None:
    as_an_earlier_version_wrote_it(copy)
    edit(copy / "run.json", lambda values: values["input"].update(height=24))  # type: ignore[attr-defined]
    done = edgecnn("evaluate", copy, shapes)
    assert done.code == 3
    assert "must fit the run's network, which takes (height, width, channels) (20, 20, 1)" in done.err


def test_an_emptied_or_edited_recipe_is_refused_whatever_is_done_with_the_run(
    edgecnn: Edgecnn, copy: Path, shapes: Path, tmp_path: Path
) -> None:
    recipe = copy / "recipe.toml"
    text = recipe.read_text()
    for arguments in (("evaluate", copy, shapes), ("export", copy, "-o", tmp_path / "m.onnx")):
        recipe.write_text("\n")
        done = edgecnn(*arguments)
        assert done.code == 3
        assert f"{recipe} is empty" in done.err
        recipe.write_text(text.replace("epochs = 4", "epochs = 9"))
        done = edgecnn(*arguments)
        assert done.code == 3
        assert f"{recipe} now has epochs = 9 instead of 4: put that back" in done.err
    assert not (tmp_path / "m.onnx").exists()


def test_pictures_that_changed_sides_are_told(edgecnn: Edgecnn, copy: Path, shapes: Path, tmp_path: Path) -> None:
    splits = copy / "splits.csv"
    text = splits.read_text()
    for change in (lambda: splits.write_text(text.replace(",train,", ",test,")), splits.unlink):
        change()
        for arguments in (
            ("evaluate", copy, shapes),
            ("export", copy, "-o", tmp_path / "m.onnx"),
            ("train", "--run", copy, "--resume"),
        ):
            done = edgecnn(*arguments)
            assert (done.code, done.out) == (3, "")
            assert f"{splits} is gone or no longer what it was when" in done.err


def test_a_checkpoint_that_is_no_network_is_told_also_where_its_hash_was_changed_with_it(
    edgecnn: Edgecnn, copy: Path
) -> None:
    newest = checkpoint.latest(copy / "checkpoints")
    newest.model_path.write_bytes(b"no archive")
    edit(newest.path / "state.json", lambda values: values.update(sha256=checkpoint.sha256(newest.model_path)))
    done = edgecnn("train", "--run", copy, "--resume", "--no-tensorboard")
    assert done.code == 3
    assert f"{newest.path} must fit the run's network (" in done.err


def test_data_that_moved_is_told_with_how_to_name_it(edgecnn: Edgecnn, copy: Path, shapes: Path) -> None:
    edit(copy / "run.json", lambda values: values["data"].update(location="/nowhere/shapes"))  # type: ignore[attr-defined]
    for arguments in (("train", "--run", copy, "--resume"), ("export", copy, "-o", copy.parent / "m.onnx")):
        done = edgecnn(*arguments)
        assert (done.code, done.out) == (3, "")
        assert f"{copy} was trained on /nowhere/shapes, which is gone: name where it lies now" in done.err
    assert edgecnn("train", shapes, "--run", copy, "--resume", "--no-tensorboard").code == 0


def test_a_checkpoint_beyond_the_end_of_its_run_is_told(edgecnn: Edgecnn, copy: Path) -> None:
    newest = states(copy)[-1]
    edit(newest, lambda values: values.update(step=99))
    newest.parent.rename(newest.parent.with_name("step-00000099"))
    done = edgecnn("train", "--run", copy, "--resume", "--no-tensorboard")
    assert done.code == 3
    assert "a checkpoint must lie within its run of 36 steps" in done.err


def test_parts_of_an_epoch_come_to_the_means_of_the_whole() -> None:
    first = state.SoFar().then(2, {"loss": 1.0, "top1": 0.5}, 3.0)
    whole = first.then(6, {"loss": 2.0, "top1": 0.9}, 4.0)
    assert (whole.batches, whole.seconds) == (8, 7.0)
    assert (whole.loss, whole.top1) == pytest.approx((1.75, 0.8))
    assert state.SoFar().then(9, {"loss": 0.1, "top1": 0.7}, 1.0) == state.SoFar(9, 0.1, 0.7, 1.0)
