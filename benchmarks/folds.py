"""Every picture tested once: k-fold accuracy of exported files, and two networks compared on the same pictures.

    python benchmarks/folds.py notMNIST_small.tar.gz --arch small lecture-b
    python benchmarks/folds.py sign-digits.tar --by blocks --arch small --recipe signs

`--by content` deals the pictures of each class out at random; identical pictures are one group and stay together. `--by
blocks` cuts each class, in natural order of the file names, into contiguous blocks: where consecutive pictures are of
one person, each person is tested by a network that has not seen them; the tenth before a block, counted in a circle, is
the validation split; a picture outside the block with the very pixels of a tested one is left out. Recipes are compared
by validation.

`-o` keeps what is done: the same command with the same file goes on after the last finished training, and with `--only`
the folds can be run one after the other and are then pooled.

Each fold is one `edgecnn train` and one `edgecnn export`, as anyone would type them; the file that export wrote
predicts its fold. Nothing is chosen by a fold: not the recipe, not the epoch (validation chooses it). Pooled over the
folds each picture is counted once; the interval is Wilson's, and that of the paired difference is Agresti and Min's,
"Simple improved confidence intervals for comparing matched proportions", Statistics in Medicine 24 (2005): Wald's with
half a picture added to each cell.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
import json
import math
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from commands import edgecnn
from edgecnn_training.accuracy import Z95, wilson
from edgecnn_training.dataset import content_hash, read
from edgecnn_training.examples import Example
from edgecnn_training.natural import natural_key
from PIL import Image as PILImage

from edgecnn import Classifier
from edgecnn.decode import decode
from edgecnn.errors import ImageError

LEFT_OUT = ""


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture of the data set: its file in the folder of pictures, its label, and what its fold depends on."""

    file: str
    label: str
    content: str
    name: str


@dataclasses.dataclass(frozen=True)
class Fold:
    """What a fold's file got right, by the pictures' names; accuracies as float32 and on validation; its time."""

    right: dict[str, bool]
    float_top1: float
    validation_top1: float
    precision: str
    seconds: float
    parameters: int


def write_pictures(location: str, folder: Path) -> list[Picture]:
    """Every picture that can be read as a file of its own; the others are named on stderr."""
    found = []
    for number, item in enumerate(read(location)):
        if not isinstance(item, Example):
            continue
        try:
            file = folder / f"{number:06d}{Path(item.name).suffix.lower() or '.png'}"
            if isinstance(item.image, bytes):
                pixels = decode(item.image)
                file.write_bytes(item.image)
            else:
                pixels = item.image
                PILImage.fromarray(item.image.squeeze()).save(file)
        except ImageError as error:
            print(f"left out: {item.name}: {error}", file=sys.stderr)
            continue
        found.append(Picture(file.name, item.label, content_hash(np.asarray(pixels)).hex(), item.name))
    return found


def dealt(pictures: Sequence[Picture], folds: int, seed: int) -> list[int]:
    """The fold of each picture: contents of each class in random order, dealt out one after the other."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for i, picture in enumerate(pictures):
        groups[picture.content].append(i)
    rng = np.random.default_rng(seed)
    order = [list(groups.values())[i] for i in rng.permutation(len(groups))]
    result, dealt_out = [0] * len(pictures), Counter[str]()
    for members in order:
        label = pictures[members[0]].label
        for i in members:
            result[i] = dealt_out[label] % folds
        dealt_out[label] += 1
    return result


def splits_by_content(pictures: Sequence[Picture], folds: int, seed: int) -> list[list[str]]:
    """For each fold the split of each picture; edgecnn takes validation from train."""
    own = dealt(pictures, folds, seed)
    return [["test" if fold == number else "train" for fold in own] for number in range(folds)]


def splits_by_blocks(pictures: Sequence[Picture], folds: int) -> list[list[str]]:
    """For each fold the split of each picture: a block of each class is tested, the tenth before it validates."""
    classes: defaultdict[str, list[int]] = defaultdict(list)
    for i, picture in enumerate(pictures):
        classes[picture.label].append(i)
    result = [["train"] * len(pictures) for _ in range(folds)]
    for members in classes.values():
        members.sort(key=lambda i: natural_key(pictures[i].name))
        bounds = [round(len(members) * k / folds) for k in range(folds + 1)]
        for number in range(folds):
            for position in range(bounds[number], bounds[number + 1]):
                result[number][members[position]] = "test"
            for back in range(1, round(len(members) / 10) + 1):
                result[number][members[bounds[number] - back]] = "validation"
    for chosen in result:
        tested = {picture.content for picture, split in zip(pictures, chosen, strict=True) if split == "test"}
        for i, picture in enumerate(pictures):
            if chosen[i] != "test" and picture.content in tested:
                chosen[i] = LEFT_OUT
    return result


def run_fold(folder: Path, pictures: Sequence[Picture], chosen: Sequence[str], options: Sequence[str]) -> Fold:
    """Train, export, and let the file predict what is tested."""
    manifest, run, model = folder / "fold.csv", folder / "run", folder / "fold.onnx"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split", "group"))
        for picture, split in zip(pictures, chosen, strict=True):
            if split != LEFT_OUT:
                writer.writerow((f"pictures/{picture.file}", picture.label, split, picture.content))
    shutil.rmtree(run, ignore_errors=True)
    began = time.monotonic()
    trained = edgecnn("train", manifest, "--run", run, *options)
    seconds = time.monotonic() - began
    told = edgecnn("export", run, "-o", model)
    parameters = json.loads((run / "run.json").read_text())["parameters"]
    right = {}
    with Classifier(model) as classifier:
        for picture, split in zip(pictures, chosen, strict=True):
            if split == "test":
                right[picture.name] = classifier.predict(folder / "pictures" / picture.file).label == picture.label
    return Fold(right, told["float_top1"], trained["validation_top1"], told["precision"], seconds, parameters)


def difference(first: Sequence[bool], second: Sequence[bool]) -> tuple[float, float, float]:
    """Share that `first` gets right more than `second` on the same pictures, with its 95 % interval."""
    n = len(first)
    only_first = sum(a and not b for a, b in zip(first, second, strict=True)) + 0.5
    only_second = sum(b and not a for a, b in zip(first, second, strict=True)) + 0.5
    apart = (only_first - only_second) / (n + 2)
    half = Z95 * math.sqrt(only_first + only_second - (only_first - only_second) ** 2 / (n + 2)) / (n + 2)
    return (sum(first) - sum(second)) / n, apart - half, apart + half


class Record:
    """The finished folds of each network, kept in a JSON file where one is asked for."""

    def __init__(self, path: Path | None, settings: dict[str, object]) -> None:
        self.path = path
        self.settings = settings
        self.folds: defaultdict[str, dict[int, Fold]] = defaultdict(dict)
        if path is None or not path.exists():
            return
        told = json.loads(path.read_text())
        other = [key for key in settings if told["settings"].get(key) != settings[key]]
        if other:
            sys.exit(f"{path} holds folds of another {', '.join(other)}; name another file with -o")
        for arch, own in told["folds"].items():
            self.folds[arch] = {int(number): Fold(**fold) for number, fold in own.items()}

    def add(self, arch: str, number: int, fold: Fold) -> None:
        """Take a finished fold up, and write the file anew."""
        self.folds[arch][number] = fold
        if self.path:
            text = {arch: {k: dataclasses.asdict(f) for k, f in own.items()} for arch, own in self.folds.items()}
            partial = self.path.with_name(f".{self.path.name}.part")
            partial.write_text(json.dumps({"settings": self.settings, "made_with": made_with(), "folds": text}) + "\n")
            partial.replace(self.path)


def made_with() -> dict[str, object]:
    """The command, the machine and the versions, for the file."""
    packages = ("edgecnn", "keras", "tensorflow", "tensorflow-cpu", "onnxruntime", "numpy")
    there = {(found.name or "").lower(): found.version for found in metadata.distributions()}
    return {
        "command": sys.argv,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **{name: there[name] for name in packages if name in there},
    }


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=type(
            "Both", (argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter), {}
        ),
    )
    parser.add_argument("data", help="whatever `edgecnn train` takes; splits that it gives are left aside")
    parser.add_argument("--by", choices=("content", "blocks"), default="content", help="how folds are cut, see above")
    parser.add_argument("--folds", type=int, default=5, help="how many")
    parser.add_argument("--only", type=int, nargs="+", metavar="K", help="run these folds only, from 0")
    parser.add_argument("--arch", nargs="+", default=["small"], help="networks; the first is compared with each other")
    parser.add_argument("--recipe", default="default", help="of every training")
    parser.add_argument("--channels", type=int, choices=(1, 3), help="of the network; else what the data has")
    parser.add_argument("--seed", type=int, default=0, help="of the folds by content, and of the training")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in `edgecnn train`")
    parser.add_argument("-o", "--output", type=Path, help="JSON, written after each training, and gone on with")
    asked = parser.parse_args()
    if asked.folds < 2:
        parser.error(f"--folds must be 2 or more, got {asked.folds}")
    asked.only = asked.only or list(range(asked.folds))
    if wrong := [k for k in asked.only if not 0 <= k < asked.folds]:
        parser.error(f"--only takes folds from 0 to {asked.folds - 1}, got {wrong[0]}")
    return asked


def main() -> None:
    """Run all folds and print a line for each, then the pooled figures."""
    asked = arguments()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    options = ["--recipe", asked.recipe, "--seed", asked.seed, *(o for text in asked.set for o in ("--set", text))]
    if asked.channels:
        options += ["--channels", asked.channels]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "pictures").mkdir()
        pictures = write_pictures(asked.data, folder / "pictures")
        settings = {
            "data": hashlib.sha256(
                "".join(sorted(p.name + p.label + p.content for p in pictures)).encode()
            ).hexdigest(),
            **{key: getattr(asked, key) for key in ("by", "folds", "recipe", "channels", "seed", "set")},
        }
        record = Record(asked.output, settings)
        if asked.by == "blocks":
            chosen = splits_by_blocks(pictures, asked.folds)
        else:
            chosen = splits_by_content(pictures, asked.folds, asked.seed)
        for number in asked.only:
            for arch in asked.arch:
                if number not in record.folds[arch]:
                    record.add(arch, number, run_fold(folder, pictures, chosen[number], ["--arch", arch, *options]))
                show_fold(number, arch, record.folds[arch][number])
    show_pooled({arch: record.folds[arch] for arch in asked.arch})


def show_fold(number: int, arch: str, fold: Fold) -> None:
    """Print the line of one training."""
    right, total = sum(fold.right.values()), len(fold.right)
    print(
        f"fold {number}  {arch:10} {fold.precision:8} {right:5,} of {total:5,}  {right / total:.4f}  "
        f"float {fold.float_top1:.4f}  validation {fold.validation_top1:.4f}  training {fold.seconds / 60:.1f} min",
        flush=True,
    )


def show_pooled(found: dict[str, dict[int, Fold]]) -> None:
    """Print each network's pooled accuracy, and how the first differs from each other on the folds that both have."""
    for arch, folds in found.items():
        right = [ok for fold in folds.values() for ok in fold.right.values()]
        low, high = wilson(sum(right), len(right))
        each = [sum(fold.right.values()) / len(fold.right) for fold in folds.values()]
        print(
            f"{arch}: {sum(right) / len(right):.2%} of {len(right):,} (95 % interval {low:.2%} to {high:.2%}), "
            f"folds {np.mean(each):.2%} ± {np.std(each, ddof=1) if len(each) > 1 else 0:.2%}, validation "
            f"{np.mean([fold.validation_top1 for fold in folds.values()]):.2%}, "
            f"{next(iter(folds.values())).parameters:,} parameters"
        )
    first, *others = found
    for other in others:
        both = sorted(set(found[first]) & set(found[other]))
        names = [(number, name) for number in both for name in found[first][number].right]
        apart, low, high = difference(
            [found[first][number].right[name] for number, name in names],
            [found[other][number].right[name] for number, name in names],
        )
        bounds = f"{low * 100:+.2f} to {high * 100:+.2f}"
        print(f"{first} - {other}: {apart * 100:+.2f} points (95 % interval {bounds}), n {len(names):,}")


if __name__ == "__main__":
    main()
