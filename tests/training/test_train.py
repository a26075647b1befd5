"""`edgecnn train`, from the command line to the files of the run."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras
from full_disk import files_of_at_most
from PIL import Image as PILImage
from shapes import LABELS, write_shapes

start_keras("to test")

from edgecnn_training.run import Run  # noqa: E402

from edgecnn.errors import DataError  # noqa: E402

QUICK = ("--arch", "softmax", "--epochs", "1", "--batch-size", "32")


def test_a_run_holds_all_there_is_to_know_about_it(trained: Path, shapes: Path) -> None:
    run = Run.open(trained)
    assert run.info.labels == LABELS
    assert (run.info.input.height, run.info.input.width, run.info.input.channels) == (20, 20, 1)
    assert run.info.recipe.arch == "micro"
    assert run.info.data_location == str(shapes)
    environment = json.loads((trained / "environment.json").read_text())
    assert {"versions", "cpu", "cores", "seed", "data_hash", "git_commit", "command", "date"} <= environment.keys()
    assert environment["versions"]["keras"]
    for name in ("curves.png", "confusion.png"):
        with PILImage.open(trained / name) as picture:
            picture.load()
            assert picture.width > 300
    assert (trained / "rejected.csv").read_text() == "name,reason\n"
    assert not list(trained.rglob("*.partial*"))


def test_metrics_have_a_line_for_each_epoch_and_the_learning_rate_of_its_last_step(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert [line["step"] for line in lines] == [9, 18, 27, 36]  # 144 pictures, batches of 16
    assert lines[-1]["learning_rate"] < lines[0]["learning_rate"] <= 0.02
    assert all(0 <= line["validation_top1"] <= 1 for line in lines)


def test_the_network_learned_more_than_chance(trained: Path) -> None:
    result = json.loads((trained / "result.json").read_text())
    assert result["split"] == "test"
    assert result["n"] == 18
    assert result["interval"][0] > 1 / 3


def test_splits_csv_lists_each_picture_by_its_content(trained: Path, shapes: Path) -> None:
    with (trained / "splits.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["name"] for row in rows) == sorted(str(p.relative_to(shapes)) for p in shapes.rglob("*.png"))
    assert {split: sum(row["split"] == split for row in rows) for split in ("train", "validation", "test")} == {
        "train": 144,
        "validation": 18,
        "test": 18,
    }


def test_train_ends_with_the_accuracy_and_the_next_command(edgecnn: Edgecnn, shapes: Path, tmp_path: Path) -> None:
    done = edgecnn("train", shapes, "--run", tmp_path / "run", *QUICK)
    assert done.code == 0
    assert "180 images, 3 classes, 20×20 grey" in done.err
    assert "train 144 · validation 18 · test 18  (random; no identical picture on two sides)" in done.err
    assert f"next:  edgecnn export {tmp_path / 'run'} -o run.onnx" in done.err
    record = json.loads(done.out)
    assert (record["type"], record["split"], record["n"]) == ("train", "test", 18)


def test_what_is_no_picture_is_listed_and_the_rest_trains(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "data", each=20)
    (data / "bar" / "empty.png").touch()
    (data / "disc" / "text.jpg").write_text("not a picture")
    whole = (data / "column" / "000.png").read_bytes()
    (data / "column" / "cut.png").write_bytes(whole[: len(whole) // 2])
    done = edgecnn("train", data, "--run", tmp_path / "run", *QUICK)
    assert done.code == 0
    assert f"3 rejected: {tmp_path / 'run' / 'rejected.csv'}" in done.err
    with (tmp_path / "run" / "rejected.csv").open(newline="") as file:
        rejected = {row["name"]: row["reason"] for row in csv.DictReader(file)}
    assert rejected["bar/empty.png"].startswith("empty file")
    assert rejected["disc/text.jpg"].startswith("not an image")
    assert rejected["column/cut.png"].startswith("damaged or truncated PNG")


def test_few_pictures_get_more_epochs_unless_epochs_are_asked(edgecnn: Edgecnn, shapes: Path, tmp_path: Path) -> None:
    options = ("--arch", "softmax", "--batch-size", "128", "--set", "min_steps=40")
    assert edgecnn("train", shapes, "--run", tmp_path / "a", *options).code == 0
    assert Run.open(tmp_path / "a").info.recipe.epochs == 40  # 144 pictures are one batch of 128; the recipe has 30
    assert edgecnn("train", shapes, "--run", tmp_path / "b", "--arch", "softmax", "--epochs", "2").code == 0
    assert Run.open(tmp_path / "b").info.recipe.epochs == 2


def test_size_channels_and_fit_are_the_networks_input(edgecnn: Edgecnn, shapes: Path, tmp_path: Path) -> None:
    options = ("--size", "24x32", "--channels", "3", "--fit", "pad")
    assert edgecnn("train", shapes, "--run", tmp_path / "run", *QUICK, *options).code == 0
    spec = Run.open(tmp_path / "run").info.input
    assert (spec.height, spec.width, spec.channels, spec.fit) == (24, 32, 3, "pad")


def test_given_splits_are_kept(edgecnn: Edgecnn, tmp_path: Path) -> None:
    write_shapes(tmp_path / "data" / "train", each=20, seed=1)
    write_shapes(tmp_path / "data" / "test", each=5, seed=2)
    done = edgecnn("train", tmp_path / "data", "--run", tmp_path / "run", *QUICK)
    assert done.code == 0
    assert "train 54 · validation 6 · test 15  (given by the data" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("train",), 2, "DATA must be named"),
        (("train", ""), 2, "DATA must not be empty; received '': name it"),
        (("train", "DATA", "--recipe", ""), 2, "--recipe must not be empty; received '': leave it out"),
        (("train", "DATA", "--fit", " "), 2, "--fit must not be empty; received ' '"),
        (("train", "DATA", "--split", ""), 2, "--split must not be empty"),
        (("train", "DATA", "--arch", ""), 2, "--arch must not be empty"),
        (("train", "", "--run", "RUN", "--resume"), 2, "DATA must not be empty"),
        (("evaluate", "", "DATA"), 2, "RUN|MODEL must not be empty"),
        (("evaluate", "RUN", ""), 2, "DATA must not be empty"),
        (("export", "RUN", "--data", ""), 2, "--data must not be empty"),
        (("export", "RUN", "--name", ""), 2, "--name must not be empty"),
        (("train", "nowhere"), 3, "there is no 'nowhere'"),
        (("train", "DATA", "--arch", "smal"), 2, "did you mean 'small'?"),
        (("train", "DATA", "--recipe", "nothing"), 2, "received 'nothing'"),
        (("train", "DATA", "--set", "epoch=3"), 2, "did you mean 'epochs'?"),
        (("train", "DATA", "--epochs", "0"), 2, "epochs must be 1 or more; received 0"),
        (("train", "DATA", "--learning-rate", "nan"), 2, "learning_rate must be 1e-9 to 100; received nan"),
        (("train", "DATA", "--size", "500"), 2, "--size must be 20 to 224 pixels"),
        (("train", "DATA", "--size", "big"), 2, "--size must be a number of pixels"),
        (("train", "DATA", "--fit", "zoom"), 2, "fit must be one of crop, stretch, pad; received 'zoom'"),
        (("train", "DATA", "--split", "sorted"), 2, "split must be one of random, ordered; received 'sorted'"),
        (("train", "DATA", "--channels", "4"), 2, "--channels must be 1 or 3; received 4"),
        (("train", "DATA", "--epochs", "1", "--run", "/dev/null/run"), 3, "name another with --run"),
        (("train", "--resume"), 2, "name it with --run"),
        (("train", "--run", "nowhere", "--resume"), 3, "'nowhere' does not exist"),
        (("train", "--run", "RUN", "--resume", "--epochs", "9"), 2, "leave out --epochs"),
        (("train", "--run", "RUN", "--resume", "--split", "ordered", "--fit", "pad"), 2, "leave out --fit, --split"),
        (("train", "DATA", "--run", "DATA/run"), 2, "a run must lie outside of its data"),
        (("train", "DATA", "--run", "n" * 300), 3, "File name too long"),
        (("train", "DATA", "--set", "learning_rate=" + "9" * 400), 2, "learning_rate must be a number"),
        (("train", "DATA", "--set", "seed=" + "9" * 5000), 2, "the value must be a number"),
        (("train", "DATA", "--run", "RUN"), 2, "add --resume to continue it"),
    ],
)
def test_a_mistake_is_told_with_its_remedy_and_leaves_nothing(
    edgecnn: Edgecnn,
    shapes: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"DATA": str(shapes), "RUN": str(trained)}
    done = edgecnn(
        *(str(argument).replace("DATA", places["DATA"]).replace("RUN", places["RUN"]) for argument in arguments)
    )
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert not list(tmp_path.iterdir())


def test_names_with_dollars_and_escapes_are_drawn_and_shown_as_they_are(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "data", each=10)
    (data / "bar").rename(data / "$x_$")
    done = edgecnn("train", data, "--run", tmp_path / "r$_$\x1b[31m", *QUICK)
    assert done.code == 0
    assert "\x1b" not in done.err
    assert json.loads(done.out)["labels"][0] == "$x_$"


def test_class_names_that_no_card_can_hold_are_refused_before_training(edgecnn: Edgecnn, tmp_path: Path) -> None:
    lines = ["path,label"]
    for i in range(400):
        for j in range(3):
            PILImage.new("L", (20, 20), (i * 3 + j) % 256).resize((20, 20 + i % 7)).save(tmp_path / f"{i}-{j}.png")
            lines.append(f"{i}-{j}.png,{i:03}" + "n" * 180)
    (tmp_path / "all.csv").write_text("\n".join(lines))
    done = edgecnn("train", tmp_path / "all.csv", "--run", tmp_path / "run", *QUICK)
    assert done.code == 3
    assert "the labels must fit a model's card, 57,344 bytes; 400 labels have" in done.err
    assert "shorten them, or train on fewer classes" in done.err
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_ends_with_advice(edgecnn: Edgecnn, shapes: Path, tmp_path: Path) -> None:
    options = ("--set", "optimizer=sgd", "--set", "schedule=constant", "--learning-rate", "99", "--epochs", "60")
    done = edgecnn("train", shapes, "--run", tmp_path / "run", "--arch", "lecture-a", *options)
    assert done.code == 2
    assert "train again with a --learning-rate below 99" in done.err


OVERFLOWS = """
import keras

def build(input_shape, classes):
    far = keras.layers.Rescaling(1e38)
    x = keras.layers.Flatten()(far(image := keras.Input(input_shape)))
    return keras.Model(image, keras.layers.Dense(classes)(keras.layers.Rescaling(1e38)(x)))
"""


def test_a_very_first_loss_that_is_no_number_is_not_put_down_to_the_learning_rate(
    edgecnn: Edgecnn, shapes: Path, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(OVERFLOWS)
    done = edgecnn("train", shapes, "--run", tmp_path / "run", "--arch", tmp_path / "net.py", "--epochs", "1")
    assert done.code == 2
    assert "that of the very first batch is nan, before anything was learned, so that no learning rate" in done.err
    assert f"look at the layers of {tmp_path / 'net.py'}" in done.err


def test_a_trial_of_the_network_on_a_full_disk_offers_no_resume(edgecnn: Edgecnn, shapes: Path, tmp_path: Path) -> None:
    assert edgecnn("train", shapes, "--run", tmp_path / "before", *QUICK).code == 0  # the pictures are in the cache
    with files_of_at_most(1_000):
        done = edgecnn("train", shapes, "--run", tmp_path / "run", *QUICK)
    assert done.code == 3
    assert "temporary files must be written to train; File too large" in done.err
    assert "free some space, or set TMPDIR to a folder on a larger disk" in done.err
    assert "--resume" not in done.err
    assert not (tmp_path / "run").exists()


def test_a_class_name_that_is_too_long_is_told_with_the_rule(edgecnn: Edgecnn, shapes: Path, tmp_path: Path) -> None:
    names = {"bar": "1" * 301, "column": "2", "disc": "3"}
    rows = "".join(f"{path},{names[path.parent.name]}\n" for path in sorted(shapes.rglob("*.png")))
    (tmp_path / "all.csv").write_text("path,label\n" + rows, encoding="utf-8-sig")
    done = edgecnn("train", tmp_path / "all.csv", "--run", tmp_path / "run", *QUICK)
    assert done.code == 3
    assert "error: each label must be printable text of at most 200 letters" in done.err
    assert done.err.endswith(": rename the class\n")


def test_a_network_that_does_not_build_leaves_no_run(edgecnn: Edgecnn, shapes: Path, tmp_path: Path) -> None:
    done = edgecnn("train", shapes, "--run", tmp_path / "run", "--arch", "mlp", "--set", "options={depth=3}")
    assert done.code == 2
    assert "does not build for" in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("theano", "KERAS_BACKEND must be one of tensorflow, jax, torch; received 'theano'"),
        ("jax", "pip install jax, or unset KERAS_BACKEND"),
    ],
)
def test_a_backend_that_is_not_there_is_told_with_the_remedy(shapes: Path, backend: str, message: str) -> None:
    if importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is installed")
    command = [sys.executable, "-m", "edgecnn", "train", str(shapes)]
    done = subprocess.run(
        command, env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labels", [1, 2, 3]),
        ("parameters", "x"),
        ("macs", None),
        ("data", {"location": None}),
        ("input", {"height": 10**7}),
    ],
)
def test_a_run_with_a_wrong_value_is_refused(trained: Path, tmp_path: Path, key: str, value: object) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    values = json.loads((trained / "run.json").read_text())
    values[key] = values[key] | value if isinstance(value, dict) else value
    (tmp_path / "copy" / "run.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match="is damaged"):
        Run.open(tmp_path / "copy")


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}', '{"schema": 99}'])
def test_a_damaged_run_is_refused(trained: Path, tmp_path: Path, text: str) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    (tmp_path / "copy" / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"is damaged|newer edgecnn"):
        Run.open(tmp_path / "copy")


def test_the_lists_name_each_plug_in_with_a_description(edgecnn: Edgecnn) -> None:
    for command, name in (("architectures", "small"), ("datasets", "folder"), ("recipes", "default")):
        done = edgecnn(command)
        rows = {row["name"]: row["description"] for row in map(json.loads, done.out.splitlines())}
        assert done.code == 0
        assert rows[name]
        assert all(rows.values())


def test_ctrl_c_while_a_run_is_made_leaves_nothing(
    edgecnn: Edgecnn, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecnn_training import splits

    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(splits, "write_splits", interrupted)
    done = edgecnn("train", shapes, "--run", tmp_path / "run", "--arch", "softmax", "--epochs", "1")
    assert done.code == 130
    assert list(tmp_path.iterdir()) == []


def test_a_network_whose_scores_are_no_numbers_is_not_kept(edgecnn: Edgecnn, shapes: Path, tmp_path: Path) -> None:
    wild = ("--learning-rate", "100", "--set", "optimizer=sgd", "--set", "schedule=constant")
    done = edgecnn("train", shapes, "--run", tmp_path / "run", "--arch", "lecture-a", "--epochs", "2", *wild)
    assert done.code == 2
    assert "finite number" in done.err
    assert "train again with a" in done.err
    assert not (tmp_path / "run" / "result.json").exists()
