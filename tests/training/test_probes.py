"""Which generated pictures a file tests itself with."""

import numpy as np
from edgecnn_training.export import probes

from edgecnn.card import InputSpec


def row(label, highest, classes=4):
    """Scores with one highest and the rest spread evenly over the others."""
    scores = np.full(classes, (1 - highest) / (classes - 1), np.float32)
    scores[label] = highest
    return scores


def test_each_label_comes_in_turn_with_scores_that_are_not_saturated():
    rows = [row(label, highest) for highest in (0.99, 0.6, 0.8) for label in (0, 0, 0, 1, 2)]
    chosen = probes.chosen(np.stack(rows), 3)
    assert [int(rows[i].argmax()) for i in chosen] == [0, 1, 2]
    assert all(rows[i].max() == np.float32(0.6) for i in chosen)


def test_a_near_tie_is_taken_only_where_there_is_nothing_better():
    tie = np.array([0.5, 0.49, 0.01, 0], np.float32)
    assert probes.chosen(np.stack([tie, row(1, 0.7)]), 1) == [1]
    assert probes.chosen(np.stack([tie, row(1, 0.7)]), 2) == [1, 0]


def test_a_network_that_is_always_certain_gets_a_test_as_well():
    assert len(probes.chosen(np.stack([row(0, 1.0)] * 30))) == probes.COUNT


def test_large_pictures_get_fewer_tests_and_fewer_tries():
    asked = []

    def scores(images):
        asked.append(len(images))
        return np.stack([row(int(image.mean()) % 4, 0.6) for image in images])

    assert len(probes.self_test(scores, InputSpec(28, 28, 1)).seeds) == 12
    assert sum(asked) == 1000 + 12
    asked.clear()
    assert len(probes.self_test(scores, InputSpec(96, 96, 1)).seeds) == 8
    assert sum(asked) == 444 + 8
