"""What the look for duplicates costs and finds, on data sets named on the command line.

    python benchmarks/health.py ../shared/data/mnist ../shared/data/cifar10/cifar10-jpeg.tar.xz --made 500000

For each set: CPU seconds for identical and for nearly equal pictures, the memory they took at most beyond what the
process had before, and the counts. Then, for `ALTERED` pictures of the set, the share whose altered copy is found:
saved as JPEG, made darker or brighter, with noise, cut by 1 % at each border, moved by one pixel. `--made N` does the
first part with N pictures of random coarse squares.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import time
from collections.abc import Callable

import numpy as np
from edgecnn_training import health, near, splits
from edgecnn_training.dataset import Record
from edgecnn_training.loading import Dataset, load_dataset
from edgecnn_training.pictures import Images, same_pixels
from PIL import Image as PILImage

ALTERED = 400
Alteration = Callable[[Images], Images]


def pillow(image: Images) -> PILImage.Image:
    """A picture of the cache for Pillow."""
    return PILImage.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def jpeg(quality: int) -> Alteration:
    """Saved as JPEG and read again."""

    def alter(image: Images) -> Images:
        buffer = io.BytesIO()
        pillow(image).save(buffer, "JPEG", quality=quality)
        return np.asarray(PILImage.open(buffer)).reshape(image.shape)

    return alter


def light(factor: float, offset: float) -> Alteration:
    """Other contrast and brightness; what leaves the range is cut."""
    return lambda image: np.clip(image * factor + offset, 0, 255).astype(np.uint8)


def noisy(image: Images) -> Images:
    """With normal noise of 4 levels."""
    noise = np.random.default_rng(int(image.sum())).normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def cut(image: Images) -> Images:
    """Without 1 % at each border, brought to the size again."""
    height, width = image.shape[:2]
    box = (width * 0.01, height * 0.01, width * 0.99, height * 0.99)
    return np.asarray(pillow(image).resize((width, height), PILImage.Resampling.BILINEAR, box)).reshape(image.shape)


def moved(image: Images) -> Images:
    """One pixel to the right."""
    return np.concatenate([image[:, :1], image[:, :-1]], 1)


ALTERATIONS: dict[str, Alteration] = {
    "JPEG 75": jpeg(75),
    "JPEG 50": jpeg(50),
    "darker": light(0.85, 10),
    "brighter": light(1.15, 15),
    "noise": noisy,
    "cut": cut,
    "moved": moved,
}


def peak_mib() -> float:
    """Most memory this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, data: Dataset) -> dict[str, object]:
    """Time, memory and counts; printed and returned."""
    begin = time.process_time()
    alike = same_pixels(data.images)[data.rows]
    identical = time.process_time() - begin
    codes = splits.assign(data.records, method="random", seed=0, alike=alike)
    before, begin = peak_mib(), time.process_time()
    found = health.examine(data, codes, alike)
    nearly = time.process_time() - begin
    print(f"{name}  {len(alike):,} pictures of {'×'.join(map(str, data.images.shape[1:]))}")
    print(f"  identical {identical:.1f} s, nearly the same {nearly:.1f} s, peak {peak_mib() - before:+.0f} MiB")
    record = found.to_record()
    record.pop("examples")
    print("  " + ", ".join(f"{key} {value}" for key, value in record.items() if value))
    return {"data": name, "identical_s": identical, "near_s": nearly, "peak_mib": peak_mib() - before, **record}


def shares(images: Images) -> dict[str, float]:
    """For each alteration the share of altered copies that are found among the set's pictures."""
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(images), min(ALTERED, len(images)), replace=False)
    result = {}
    for name, alter in ALTERATIONS.items():
        both = np.concatenate([images, np.stack([alter(images[i]) for i in chosen])])
        pairs = near.Search(both, np.arange(len(both))).pairs()
        found = {(int(i), int(j)) for part in pairs for i, j in zip(part.first, part.second, strict=True)}
        same = [(both[i] == both[len(images) + k]).all() for k, i in enumerate(chosen)]
        hits = [(int(i), len(images) + k) in found or same[k] for k, i in enumerate(chosen)]
        result[name] = sum(hits) / len(hits)
    return result


def made(count: int) -> Dataset:
    """Pictures of 7×7 random squares, 28×28 pixels, of ten classes."""
    rng = np.random.default_rng(0)
    images = np.empty((count, 28, 28, 1), np.uint8)
    for start in range(0, count, 10_000):
        squares = rng.integers(0, 256, (min(10_000, count - start), 7, 7, 1), np.uint8)
        images[start : start + 10_000] = squares.repeat(4, 1).repeat(4, 2)
    records = [Record(str(i), str(i % 10), None, None, i.to_bytes(32), 28, 28, True) for i in range(count)]
    survey = None  # nobody asks for it here
    labels = tuple(map(str, range(10)))
    return Dataset(survey, images, np.arange(count), np.arange(count) % 10, labels, records, [], [])  # type: ignore[arg-type]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="*")
    parser.add_argument("--made", type=int, default=0)
    arguments = parser.parse_args()
    results = []
    for location in arguments.data:
        data = load_dataset(location, size=None, channels=None)
        results.append(measure(location, data))
        found = shares(np.asarray(data.images))
        print("  found: " + ", ".join(f"{name} {share * 100:.0f} %" for name, share in found.items()))
        results[-1]["found"] = found
    if arguments.made:
        results.append(measure("made", made(arguments.made)))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
