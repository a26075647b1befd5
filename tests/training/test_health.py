"""What is there twice in a data set: counted, told with the remedy, listed, drawn; and a leak that is refused."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from command import Edgecnn
from edgecnn_training import advice, health, run_data, splits
from edgecnn_training import run as runs
from edgecnn_training.health import Health
from edgecnn_training.loading import Dataset, load_dataset
from edgecnn_training.pictures import same_pixels
from edgecnn_training.report import duplicates
from made import write_folder
from PIL import Image as PILImage
from PIL.PngImagePlugin import PngInfo

from edgecnn.errors import DataError

Pixels = npt.NDArray[np.uint8]
QUICK = ("--arch", "softmax", "--epochs", "1", "--batch-size", "32")


def scene(seed: int) -> Pixels:
    """A smooth pattern, grey 20×20; no two are alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6), np.uint8)
    return np.asarray(PILImage.fromarray(coarse).resize((20, 20), PILImage.Resampling.BICUBIC))


def png(pixels: Pixels, comment: str = "") -> bytes:
    """A PNG file; another comment makes other bytes of the same picture."""
    buffer, info = io.BytesIO(), PngInfo()
    info.add_text("Comment", comment)
    PILImage.fromarray(pixels).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def noisy(seed: int) -> Pixels:
    noise = np.random.default_rng(seed).integers(-3, 4, (20, 20))
    return (scene(seed).astype(int) + noise).clip(0, 255).astype(np.uint8)


def healthy(each: int = 15, folder: str = "", begin: int = 0) -> dict[str, bytes]:
    """Class folders of pictures that are all different."""
    places = [f"{folder}{label}/{i:02}.png" for label in ("cat", "dog") for i in range(each)]
    return {name: png(scene(begin + seed)) for seed, name in enumerate(places)}


def given(**more: bytes) -> dict[str, bytes]:
    """A data set that brings its own splits; pictures 0 to 29, 100 to 109 and 200 to 209."""
    parts = (("train/", 15, 0), ("validation/", 5, 100), ("test/", 5, 200))
    files = {name: data for folder, each, begin in parts for name, data in healthy(each, folder, begin).items()}
    return files | more


def examined(place: Path, files: dict[str, bytes], method: str = "random") -> tuple[Dataset, Health]:
    data = load_dataset(write_folder(place, files), size=None, channels=None)
    alike = same_pixels(data.images)[data.rows]
    codes = splits.assign(data.records, method=method, seed=0, alike=alike)
    return data, health.examine(data, codes, alike)


def names(found: Health) -> dict[str, set[frozenset[str]]]:
    kinds: dict[str, set[frozenset[str]]] = {}
    for pair in found.pairs:
        kinds.setdefault(pair.kind, set()).add(frozenset((pair.first.name, pair.second.name)))
    return kinds


def both(*pairs: tuple[str, str]) -> set[frozenset[str]]:
    return set(map(frozenset, pairs))


def test_a_healthy_set_has_no_line_no_note_and_no_pictures(tmp_path: Path) -> None:
    data, found = examined(tmp_path / "data", healthy())
    assert (advice.summary(found), advice.repetitions(found, "random")) == ("", [])
    (tmp_path / "run").mkdir()
    duplicates.write(tmp_path / "run", found, data.images)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["health.json"]
    assert json.loads((tmp_path / "run" / "health.json").read_text()) == {
        "sizes": {"train": 22, "validation": 4, "test": 4},
        **{
            key: {}
            for key in ("identical_within", "identical_across", "near_within", "near_across", "near_labels", "found")
        },
        **dict.fromkeys(("same_file", "two_labels", "near_two_labels", "leaked"), 0),
        "complete": True,
        "examples": [],
    }


def test_each_kind_of_repetition_is_counted_and_listed(tmp_path: Path) -> None:
    files = {
        "train/cat/same-file.png": png(scene(0)),  # cat/00
        "train/cat/same-pixels.png": png(scene(1), "saved again"),  # cat/01
        "train/dog/is-a-cat.png": png(scene(2), "saved again"),  # cat/02
        "train/cat/near.png": png(noisy(3)),  # cat/03
        "train/dog/near-a-cat.png": png(noisy(4)),  # cat/04
        "validation/cat/leak.png": png(scene(5), "saved again"),  # train/cat/05
        "test/dog/near.png": png(noisy(20)),  # train/dog/05
        "test/dog/near-validation.png": png(noisy(105)),  # validation/dog/00
    }
    _, found = examined(tmp_path, given(**files))
    assert names(found) == {
        "identical, under two labels": both(("train/cat/02.png", "train/dog/is-a-cat.png")),
        "identical, on two sides": both(("train/cat/05.png", "validation/cat/leak.png")),
        "nearly the same, under two labels": both(("train/cat/04.png", "train/dog/near-a-cat.png")),
        "nearly the same, on two sides": both(
            ("train/dog/05.png", "test/dog/near.png"), ("validation/dog/00.png", "test/dog/near-validation.png")
        ),
        "identical, on one side": both(
            ("train/cat/00.png", "train/cat/same-file.png"), ("train/cat/01.png", "train/cat/same-pixels.png")
        ),
        "nearly the same, on one side": both(("train/cat/03.png", "train/cat/near.png")),
    }
    assert list(names(found)) == list(health.KINDS)
    assert (found.identical_within, found.identical_across) == ({"train": 3}, {"validation": 1})
    assert (found.same_file, found.two_labels, found.leaked) == (1, 1, 0)
    assert (found.near_within, found.near_across) == ({"train": 1}, {"test": 2})
    assert found.found == {kind: len(pairs) for kind, pairs in names(found).items()}
    assert (found.near_two_labels, found.near_labels, found.complete) == (1, {"dog": 2}, True)


def test_what_was_found_is_told_in_a_line_and_in_notes_with_remedies(tmp_path: Path) -> None:
    files = {
        "train/dog/is-a-cat.png": png(scene(2), "saved again"),
        "validation/cat/leak.png": png(scene(5)),
        "test/dog/near.png": png(noisy(20)),
    }
    _, found = examined(tmp_path, given(**files))
    assert advice.summary(found) == (
        "data: 1 identical under two labels, 1 identical on two sides, 1 nearly the same on two sides, "
        "1 identical within train (duplicates.png)"
    )
    assert advice.repetitions(found, "given") == [
        "1 picture stands under two labels, such as 'train/cat/02.png' ('cat') and 'train/dog/is-a-cat.png' ('dog'); "
        "no network can be right about both: delete or move the wrong ones, see duplicates.csv",
        "1 of 11 validation pictures are identical to ones on a side nearer to training: the validation accuracy is "
        "flattered; delete them on one side, see duplicates.csv",
        "1 of 22 held-out pictures, mostly of 'dog', are nearly the same as one on another side: look at "
        "duplicates.png; simple shapes are honestly alike, frames of a video or a burst flatter the accuracy: "
        "keep each scene on one side",
    ]


@pytest.mark.parametrize(
    ("method", "remedy"),
    [
        ("random", ": --split ordered, or a group for each scene in a manifest, keeps them together"),
        ("ordered", ": a group for each scene in a manifest keeps them together"),
    ],
)
def test_near_copies_on_two_sides_of_our_own_split_are_told_with_what_keeps_them_together(
    tmp_path: Path, method: str, remedy: str
) -> None:
    burst = {f"cat/{i:02}-{j}.png": png(noisy_frame(i, j)) for i in range(4) for j in range(5)}
    data, found = examined(tmp_path, burst | {f"dog/{i}.png": png(scene(50 + i)) for i in range(20)}, method)
    assert len(data.records) == 40
    count = sum(found.near_across.values())
    assert count > 0
    (note,) = advice.repetitions(found, method)
    assert note.startswith(f"{count} of 8 held-out pictures")
    assert note.endswith(remedy)


def noisy_frame(seed: int, frame: int) -> Pixels:
    noise = np.random.default_rng([seed, frame]).integers(-3, 4, (20, 20))
    return (scene(seed).astype(int) + noise).clip(0, 255).astype(np.uint8)


def test_where_the_search_was_cut_the_line_says_at_least() -> None:
    counts = {"near_across": {"test": 1_200}, "near_labels": {"a": 700}, "sizes": {"test": 9_000}, "complete": False}
    empty = {key: {} for key in ("identical_within", "identical_across", "near_within", "found")}
    zero = dict.fromkeys(("same_file", "two_labels", "near_two_labels", "leaked"), 0)
    found = Health(**counts, **empty, **zero, pairs=[])  # type: ignore[arg-type]
    assert advice.summary(found) == "data: at least 1,200 nearly the same on two sides (duplicates.png)"
    assert advice.repetitions(found, "given")[0].startswith("at least 1,200 of 9,000 held-out pictures, mostly of 'a',")


@pytest.mark.parametrize("method", splits.METHODS)
def test_our_own_split_never_puts_the_same_pixels_on_two_sides(tmp_path: Path, method: str) -> None:
    again = {f"cat/again-{i:02}.png": png(scene(i), "saved again") for i in range(0, 15, 2)}
    data, found = examined(tmp_path, healthy() | again, method)
    assert len(set(data.rows.tolist())) == len(data.records), "other bytes: a row of the cache for each"
    assert sum(found.identical_within.values()) == 8
    assert (found.identical_across, found.same_file) == ({}, 0)


def test_the_list_and_the_contact_sheet_show_the_pairs(tmp_path: Path) -> None:
    files = {f"train/dog/x{i}.png": png(scene(i), "again") for i in range(10)}
    data, found = examined(tmp_path / "data", given(**files))
    (tmp_path / "run").mkdir()
    duplicates.write(tmp_path / "run", found, data.images)
    with (tmp_path / "run" / "duplicates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "kind": "identical, under two labels",
        "likeness": "1.0000",
        "name": "train/cat/00.png",
        "split": "train",
        "label": "cat",
        "other_name": "train/dog/x0.png",
        "other_split": "train",
        "other_label": "dog",
    }
    assert len(rows) == 10
    record = json.loads((tmp_path / "run" / "health.json").read_text())
    assert len(record["examples"]) == health.EXAMPLES
    assert record["examples"][1] == {
        "kind": "identical, under two labels",
        "likeness": 1.0,
        "first": {"name": "train/cat/01.png", "label": "cat", "split": "train"},
        "second": {"name": "train/dog/x1.png", "label": "dog", "split": "train"},
    }
    with PILImage.open(tmp_path / "run" / "duplicates.png") as sheet:
        drawn = np.asarray(sheet.convert("L"))
    assert drawn.shape[1] > 1000  # four pairs in a row
    for row in range(2):  # a scene has its own greys, paper and ink few
        top = 45 + 185 * row
        squares = [drawn[top + 5 : top + 125, 15 + int(290 * i) : 135 + int(290 * i)] for i in range(4)]
        assert all(square.std() > 20 for square in squares)


def test_the_examples_show_no_picture_twice(tmp_path: Path) -> None:
    again = {f"train/cat/x{i}.png": png(scene(0), str(i)) for i in range(9)} | {"train/cat/y.png": png(scene(1), "y")}
    _, found = examined(tmp_path, given(**again))
    (pairs,) = found.examples().values()
    assert len(found.pairs) == 10
    assert [pair.second.name for pair in pairs] == ["train/cat/x0.png", "train/cat/y.png"]


def leaking() -> dict[str, bytes]:
    """Two test pictures of twelve are those of train: one the same file, one saved anew."""
    return given(
        **{"test/cat/file.png": png(scene(0)), "test/dog/pixels.png": png(scene(20), "saved again")},
    )


def test_a_given_test_split_that_leaks_is_refused_and_nothing_is_written(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", leaking())
    done = edgecnn("train", data, "--run", tmp_path / "run", *QUICK)
    assert (done.code, done.out) == (3, "")
    assert (
        "the test split must hold pictures that the network does not learn from; 2 of its 12 are identical to pictures "
        "of train or validation, such as 'test/cat/file.png' is 'train/cat/00.png', 'test/dog/pixels.png' is "
        "'train/dog/05.png': delete them on one side, or go on with --allow-leak"
    ) in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_leak_that_is_allowed_is_told_and_stands_in_the_result(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data, run = write_folder(tmp_path / "data", leaking()), tmp_path / "run"
    done = edgecnn("train", data, "--run", run, "--allow-leak", *QUICK)
    assert done.code == 0
    assert "train 30 · validation 10 · test 12  (given by the data; 2 pictures on two sides)" in done.err
    assert "data: 2 identical on two sides (duplicates.png)" in done.err
    assert "2 of 12 test pictures are identical to ones on a side nearer to training" in done.err
    assert ", flattered by 2 pictures that it knows" in done.err
    record = json.loads(done.out)
    assert (record["leaked"], record["n"]) == (2, 12)
    assert json.loads((run / "result.json").read_text())["leaked"] == 2
    assert json.loads((run / "health.json").read_text())["leaked"] == 2
    assert {"duplicates.csv", "duplicates.png"} <= {path.name for path in run.iterdir()}
    again = edgecnn("train", data, "--run", run, "--resume")
    assert again.code == 0
    repeated = json.loads(again.out)
    assert {key: repeated[key] for key in ("leaked", "n", "correct")} == {
        key: record[key] for key in ("leaked", "n", "correct")
    }
    assert "(given by the data; 2 pictures on two sides)" in again.err
    assert "data: 2 identical" not in again.err
    model = tmp_path / "model.onnx"
    assert edgecnn("export", run, "-o", model).code == 0
    assert "; flattered by 2 it knew" in edgecnn("inspect", model, terminal=True).out


def test_a_run_without_health_json_is_resumed_as_before(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", trained, tmp_path / "run"], check=True)
    (tmp_path / "run" / "health.json").unlink()
    done = edgecnn("train", "--run", tmp_path / "run", "--resume")
    assert done.code == 0
    assert json.loads(done.out)["leaked"] == 0
    assert "no identical picture on two sides" in done.err


def test_allow_leak_is_for_a_new_run(edgecnn: Edgecnn, trained: Path) -> None:
    done = edgecnn("train", "--run", trained, "--resume", "--allow-leak")
    assert done.code == 2
    assert "leave out --allow-leak" in done.err


def test_a_validation_split_that_leaks_is_a_note_only(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", given(**{"validation/cat/leak.png": png(scene(5))}))
    done = edgecnn("train", data, "--run", tmp_path / "run", *QUICK)
    assert done.code == 0
    assert "note: 1 of 11 validation pictures are identical to ones on a side nearer to training" in done.err
    assert json.loads(done.out)["leaked"] == 0


def test_the_splits_of_a_run_that_leaks_come_back_as_they_were(tmp_path: Path) -> None:
    data, _ = examined(tmp_path / "data", leaking() | {"validation/cat/leak.png": png(scene(6))})
    codes = splits.assign(data.records, method="random", seed=0, alike=same_pixels(data.images)[data.rows])
    splits.write_splits(tmp_path / "splits.csv", data.records, codes)
    run = runs.Run(tmp_path, None)  # type: ignore[arg-type]  # nobody asks for its description
    assert run_data.codes_of(run, data).tolist() == codes.tolist()
    assert Counter(codes.tolist()) == {0: 30, 1: 11, 2: 12}


def test_a_leak_among_many_conflicts_is_refused_too(tmp_path: Path) -> None:
    _, found = examined(tmp_path, given(**{"test/dog/x.png": png(scene(0))}))  # train/cat/00 under another label
    assert (found.leaked, found.two_labels) == (1, 1)
    with pytest.raises(DataError, match=r"1 of its 11 are identical .* 'test/dog/x.png' is 'train/cat/00.png'"):
        health.refuse_leak(found)


def test_names_and_labels_of_any_kind_are_drawn_as_they_are(tmp_path: Path) -> None:
    labels = ("$x_$", "日本", "l" * 60)
    files = {f"{label}/{'n' * 60}{i}.png": png(scene(i), label) for label in labels for i in range(6)}
    data, found = examined(tmp_path / "data", files)
    assert found.two_labels == 6
    (tmp_path / "run").mkdir()
    duplicates.write(tmp_path / "run", found, data.images)
    assert (tmp_path / "run" / "duplicates.png").stat().st_size > 10_000


def test_the_look_for_duplicates_needs_no_keras() -> None:
    program = "import sys, edgecnn_training.health, edgecnn_training.report.duplicates; print('keras' in sys.modules)"
    end = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert end.stdout.strip() == "False"
