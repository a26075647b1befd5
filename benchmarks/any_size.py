"""How a file that takes pictures of any size compares with Pillow and a file of one size.

    edgecnn export runs/signs -o any.onnx --input any
    edgecnn export runs/signs -o fixed.onnx
    python benchmarks/any_size.py any.onnx fixed.onnx DATA --change crop [--pictures 10000] [-o any_size.json]

Both files must be of one run. Each picture of DATA goes through Pillow into the one and as it is into the other; DATA
is gone through again, with other changes, until there are enough pictures. Times are of one picture, one thread, the
two in turns; the middle ones of all are compared.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import PIL
from edgecnn_training import dataset
from edgecnn_training.examples import Example
from edgecnn_training.export.any_size import scaler
from PIL import Image as PILImage

from edgecnn import Classifier, session
from edgecnn.decode import decode
from edgecnn.errors import ImageError

Pixels = npt.NDArray[np.uint8]


def decoded(location: str) -> Iterator[Pixels]:
    """The pictures of a data set as they lie there."""
    for item in dataset.read(location):
        if isinstance(item, Example):
            try:
                yield decode(item.image) if isinstance(item.image, bytes) else item.image
            except ImageError:
                continue


def cropped(picture: Pixels, draw: np.random.Generator) -> Pixels:
    """A part, each side of which is 30 to 100 % of the whole one's."""
    height, width = picture.shape[:2]
    rows, columns = (max(1, round(side * draw.uniform(0.3, 1))) for side in (height, width))
    top, left = draw.integers(height - rows + 1), draw.integers(width - columns + 1)
    return np.ascontiguousarray(picture[top : top + rows, left : left + columns])


def enlarged(picture: Pixels, draw: np.random.Generator) -> Pixels:
    """The picture two to twenty times as large, and up to a third higher or wider than it was."""
    height, width, channels = picture.shape
    factor = draw.uniform(2, 20)
    rows, columns = (max(1, round(side * factor * draw.uniform(1, 4 / 3))) for side in (height, width))
    plain = PILImage.fromarray(picture[:, :, 0] if channels == 1 else picture)
    made = plain.resize((columns, rows), PILImage.Resampling.BICUBIC)
    return np.asarray(made, np.uint8).reshape(rows, columns, channels)


CHANGES = {"none": lambda picture, draw: picture, "crop": cropped, "enlarge": enlarged}


def compared(whole: Classifier, fixed: Classifier, pictures: Iterator[Pixels]) -> dict[str, object]:
    """Both ways, picture by picture."""
    spec = fixed.card.input
    front = session.open_session(scaler(spec), device="cpu")
    levels, same, values, difference = 0, 0, 0, 0.0
    margins: list[float] = []
    times: dict[str, list[float]] = {"pillow": [], "graph": [], "new_size": []}
    sizes: set[tuple[int, int]] = set()
    for picture in pictures:
        began = time.perf_counter()
        fitted = fixed.fit(picture)
        theirs = fixed.scores(fitted[np.newaxis])[0]
        middle = time.perf_counter()
        whole.fit(picture)
        checked = time.perf_counter()
        ours = whole.scores(picture[np.newaxis])[0]
        times["pillow"].append(middle - began)
        times["graph"].append(time.perf_counter() - checked)
        if picture.shape[:2] not in sizes:
            times["new_size"].append(checked - middle)
        sizes.add(picture.shape[:2])
        apart = np.abs(front.run({"image": picture[np.newaxis]})[0][0].astype(np.int64) - fitted)
        levels, same, values = max(levels, int(apart.max())), same + int((apart == 0).sum()), values + apart.size
        difference = max(difference, float(np.abs(ours - theirs).max()))
        if ours.argmax() != theirs.argmax():
            margins.append(float(np.diff(np.sort(theirs)[-2:])[0]))
    found = {name: statistics.median(own) * 1000 for name, own in times.items()}
    count = len(times["pillow"])
    return {
        "pictures": count,
        "sizes": len(sizes),
        "smallest": min(sizes, key=lambda size: size[0] * size[1]),
        "largest": max(sizes, key=lambda size: size[0] * size[1]),
        "grey_levels": levels,
        "values_identical": same / values,
        "score_difference": difference,
        "labels_same": 1 - len(margins) / count,
        "margins": margins,
        "pillow_ms": found["pillow"],
        "graph_ms": found["graph"],
        "ratio": found["graph"] / found["pillow"],
        "new_size_ms": found["new_size"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("any", type=Path, help="the file that --input any wrote")
    parser.add_argument("fixed", type=Path, help="the same run's file of one size")
    parser.add_argument("data", help="a data set, as for edgecnn train")
    parser.add_argument("--change", choices=CHANGES, default="none", help="made of each picture (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=10_000, help="(default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, help="also write the figures to this JSON file")
    asked = parser.parse_args()
    draw = np.random.default_rng(0)
    through = itertools.chain.from_iterable(decoded(asked.data) for _ in itertools.count())
    pictures = (CHANGES[asked.change](picture, draw) for picture in itertools.islice(through, asked.pictures))
    with Classifier(asked.any, device="cpu", threads=1) as whole, Classifier(asked.fixed, device="cpu") as fixed:
        found = compared(whole, fixed, pictures)
    found |= {
        "data": Path(asked.data).name,
        "change": asked.change,
        "network": f"{fixed.card.input.height}×{fixed.card.input.width}×{fixed.card.input.channels}",
        "versions": {"pillow": PIL.__version__, "onnxruntime": onnxruntime.__version__},
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
    }
    for name, value in found.items():
        print(f"{name:<18} {value}")
    if asked.output:
        asked.output.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
