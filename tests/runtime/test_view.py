from __future__ import annotations

import numpy as np
import pytest

from edgecnn.errors import UsageError
from edgecnn.view import View

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
CORNER = IMAGE[0, 0]


def test_pictures_are_turned_clockwise_and_mirrored_after_that() -> None:
    right = View.of({"rotate": "90"})(IMAGE)
    assert right.shape == (6, 4, 3)
    assert (right[0, -1] == CORNER).all()
    assert (View.of({"rotate": "180"})(IMAGE)[-1, -1] == CORNER).all()
    assert (View.of({"rotate": "270"})(IMAGE)[-1, 0] == CORNER).all()
    assert (View.of({"flip": "h"})(IMAGE)[0, -1] == CORNER).all()
    assert (View.of({"flip": "v"})(IMAGE)[-1, 0] == CORNER).all()
    both = View.of({"rotate": "90", "flip": "hv"})(IMAGE)
    assert (both[-1, 0] == CORNER).all()
    assert both.flags.c_contiguous


def test_a_part_is_cut_out_of_what_is_seen_after_turning() -> None:
    image = np.zeros((100, 200, 1), np.uint8)
    image[50:, :100] = 1  # below, to the left
    cut = View.of({"crop": "0,0.5,0.5,0.5"})(image)
    assert cut.shape == (50, 100, 1)
    assert cut.all()
    assert View.of({"rotate": "90", "crop": "0,0,0.5,0.5"})(image).all()
    assert View.of({"crop": "0.999,0.999,0.001,0.001"})(IMAGE).shape == (1, 1, 3)
    assert (View.of({"crop": "0,0,1,1"})(IMAGE) == IMAGE).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotate": "45"}, "rotate must be 0, 90, 180 or 270; received '45'"),
        ({"flip": "x"}, "flip must be h, v or hv"),
        ({"flip": ""}, "flip must be h, v or hv"),
        ({"crop": "0,0,1"}, "crop must be left,top,width,height"),
        ({"crop": "0.5,0,0.6,1"}, "lie within the picture"),
        ({"crop": "0,0,0,1"}, "lie within the picture"),
        ({"crop": "a,b,c,d"}, "crop must be"),
        ({"every": "0"}, "every must be a whole number from 1"),
        ({"skip": "-1"}, "skip must be a whole number from 0"),
    ],
)
def test_what_has_no_meaning_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        View.of(options)
