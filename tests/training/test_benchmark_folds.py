"""The folds of benchmarks/folds.py: each picture tested once, groups and neighbours kept apart."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import itertools

from folds import LEFT_OUT, Fold, Picture, Record, difference, splits_by_blocks, splits_by_content


def pictures(each: int = 53) -> list[Picture]:
    return [Picture(f"{i}.png", label, f"{label}{i // 2}", f"{label}/{i}.png") for label in "abc" for i in range(each)]


def test_by_content_each_picture_is_tested_once_with_its_likes_and_classes_are_even() -> None:
    found, folds = pictures(), splits_by_content(pictures(), 5, seed=1)
    times = Counter(i for chosen in folds for i, split in enumerate(chosen) if split == "test")
    assert times == dict.fromkeys(range(len(found)), 1)
    for chosen in folds:
        sides: dict[str, set[str]] = {}
        for picture, split in zip(found, chosen, strict=True):
            sides.setdefault(picture.content, set()).add(split)
        assert all(len(side) == 1 for side in sides.values())
        counts = Counter(p.label for p, split in zip(found, chosen, strict=True) if split == "test")
        assert max(counts.values()) - min(counts.values()) <= 2  # a group of two more or less


def test_by_blocks_a_fold_is_contiguous_in_each_class_and_validation_stands_before_it() -> None:
    folds = splits_by_blocks([dataclasses.replace(p, content=p.name) for p in pictures()], 5)
    tested = np.array([[split == "test" for split in chosen] for chosen in folds])
    assert (tested.sum(0) == 1).all()
    for chosen in folds:
        for start in (0, 53, 106):
            own = "".join(split[0] for split in chosen[start : start + 53])
            assert Counter(own) == {"t": 48, "v": 5}
            assert "vvvvv" in own + own  # in a circle
            first = chosen[start : start + 53].index("test")
            assert chosen[start + (first - 1) % 53] == "validation"
            block = [split == "test" for split in chosen[start : start + 53]]
            assert sum(a != b for a, b in itertools.pairwise(block)) <= 2


def test_by_blocks_a_picture_with_the_pixels_of_a_tested_one_is_left_out() -> None:
    found = [dataclasses.replace(p, content=p.name) for p in pictures()]
    found[3], found[52] = (dataclasses.replace(p, content="the same") for p in (found[3], found[52]))
    folds = splits_by_blocks(found, 5)
    assert [(chosen[3], chosen[52]) for chosen in folds] == [
        ("test", LEFT_OUT),
        ("train", "train"),
        ("train", "train"),
        ("train", "train"),
        (LEFT_OUT, "test"),
    ]


def test_finished_folds_are_gone_on_with_and_those_of_other_settings_refused(tmp_path: Path) -> None:
    fold = Fold({"a.png": True, "b.png": False}, 0.5, 0.6, "int8", 3.0, 77)
    Record(tmp_path / "folds.json", {"seed": 0, "by": "content"}).add("small", 2, fold)
    assert Record(tmp_path / "folds.json", {"seed": 0, "by": "content"}).folds == {"small": {2: fold}}
    with pytest.raises(SystemExit, match="of another seed"):
        Record(tmp_path / "folds.json", {"seed": 1, "by": "content"})


def test_the_paired_difference_is_that_of_its_source() -> None:
    # by hand: n 100, 12 and 5 discordant: (12.5 - 5.5)/102 = 0.0686, 1.96·√(18 - 49/102)/102 = 0.0804
    first = [True] * 80 + [True] * 12 + [False] * 5 + [False] * 3
    second = [True] * 80 + [False] * 12 + [True] * 5 + [False] * 3
    apart, low, high = difference(first, second)
    assert apart == pytest.approx(0.07)
    assert (low, high) == (pytest.approx(-0.0118, abs=2e-4), pytest.approx(0.1491, abs=2e-4))
