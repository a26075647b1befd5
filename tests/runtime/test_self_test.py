"""Pictures from numbers, and a card's self-test that asks the machine what the file says of them."""

import hashlib
import json

import numpy as np
import pytest

from edgecnn import self_test
from edgecnn.card import InputSpec, ModelCard
from edgecnn.errors import ModelError
from edgecnn.self_test import SelfTest, check, picture


def card(**more):
    return ModelCard("m", ("a", "b", "c"), InputSpec(8, 8, 1), "int8", "0" * 64, more)


def constant(*scores):
    return lambda images: np.tile(np.asarray(scores, np.float32), (len(images), 1))


def test_a_seed_gives_the_same_bytes_everywhere_and_for_ever():
    digest = hashlib.sha256()
    for seed in (0, 1, 2, 3, 999, 2**64 - 1):
        for shape in ((28, 28, 1), (32, 32, 3), (1, 1, 1), (5, 64, 3), (96, 96, 3)):
            digest.update(picture(seed, *shape).tobytes())
    # a card that was written before must find its pictures again: another digest breaks every exported file
    assert digest.hexdigest() == "490a6406070859b02acfc3b5d7d4444f8ed8c20fe8e8b7d99f1af46b1915793e"


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 3), (28, 28, 1), (64, 64, 3)])
def test_pictures_have_the_size_that_was_asked_for_and_differ(shape):
    made = [picture(seed, *shape) for seed in range(12)]
    assert all(image.shape == shape and image.dtype == np.uint8 for image in made)
    assert len({image.tobytes() for image in made}) > (6 if shape == (1, 1, 1) else 11)


def test_pictures_use_all_grey_levels():
    values = np.concatenate([picture(seed, 28, 28, 1).ravel() for seed in range(100)])
    assert len(np.unique(values)) > 250


def test_what_a_file_says_passes_its_own_test_and_survives_the_card():
    test = SelfTest.of([3, 5], constant(0.2, 0.7, 0.1)(np.zeros((2, 8, 8, 1))))
    assert test.expected[0] == ((1, 0.7), (0, 0.2), (2, 0.1))
    kept = ModelCard.from_json(card(self_test=test.to_json()).to_json())
    assert SelfTest.from_card(kept) == test
    check(test, kept, constant(0.2, 0.7, 0.1), "here")
    check(test, kept, constant(0.209, 0.691, 0.1), "here")


def test_a_score_further_away_than_the_tolerance_is_refused_and_says_who_disagrees():
    test = SelfTest.of([3, 5], constant(0.2, 0.7, 0.1)(np.zeros((2, 8, 8, 1))))
    with pytest.raises(ModelError) as told:
        check(test, card(), constant(0.2, 0.65, 0.15), "ONNX Runtime 1.0 on cpu")
    assert (
        "ONNX Runtime 1.0 on cpu disagrees with the card about 2 of 2 test pictures, most about number 5: 'b' 0.650 "
        "instead of 0.700"
    ) in str(told.value)
    assert "--quantize none" in str(told.value)


def test_each_picture_is_asked_alone_as_a_prediction_is():
    sizes = []

    def scores(images):
        sizes.append(images.shape)
        return constant(0.2, 0.7, 0.1)(images)

    check(SelfTest.of([1, 2, 3], constant(0.2, 0.7, 0.1)(np.zeros((3, 8, 8, 1)))), card(), scores, "here")
    assert sizes == [(1, 8, 8, 1)] * 3


def test_a_card_without_a_self_test_asks_nothing():
    assert SelfTest.from_card(card()) is None


@pytest.mark.parametrize(
    "values",
    [
        {},
        [],
        "text",
        3,
        {"seeds": [], "expected": [], "tolerance": 0.01},
        {"seeds": [1], "expected": [[[0, 0.5]]]},
        {"seeds": [1], "expected": [[[3, 0.5]]], "tolerance": 0.01},
        {"seeds": [1], "expected": [[[-1, 0.5]]], "tolerance": 0.01},
        {"seeds": [1], "expected": [[[0, 1.5]]], "tolerance": 0.01},
        {"seeds": [1], "expected": [[[0]]], "tolerance": 0.01},
        {"seeds": [1], "expected": [[]], "tolerance": 0.01},
        {"seeds": [1, 2], "expected": [[[0, 0.5]]], "tolerance": 0.01},
        {"seeds": [-1], "expected": [[[0, 0.5]]], "tolerance": 0.01},
        {"seeds": [1 << 64], "expected": [[[0, 0.5]]], "tolerance": 0.01},
        {"seeds": [1.5], "expected": [[[0, 0.5]]], "tolerance": 0.01},
        {"seeds": [True], "expected": [[[0, 0.5]]], "tolerance": 0.01},
        {"seeds": [1], "expected": [[[0, 0.5]]], "tolerance": 0},
        {"seeds": [1], "expected": [[[0, 0.5]]], "tolerance": float("nan")},
        {"seeds": list(range(65)), "expected": [[[0, 0.5]]] * 65, "tolerance": 0.01},
    ],
)
def test_a_self_test_without_meaning_is_refused(values):
    with pytest.raises(ModelError, match="self_test must hold seeds, expected scores and a tolerance"):
        SelfTest.from_card(card(self_test=json.loads(json.dumps(values))))


def test_constants_of_the_format_stay():
    assert (self_test.TOLERANCE, self_test.SHOWN_CLASSES, self_test.MAX_SEEDS) == (0.01, 5, 64)
