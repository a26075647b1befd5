"""Draw the data set `glyphs`: letters A to J in fonts that Debian packages, 28×28 grey, in the spirit of notMNIST.

::

    python scripts/make_glyphs.py

Needs Debian 12 (``apt-get``, ``dpkg-deb``) and the extra ``train``, whose Matplotlib brings fontTools. Downloads 170 MB
of packages into ``--packages`` and unpacks them there; installs nothing. ``glyph_fonts.csv`` names the packages and
their licences; only bitmaps of the letters go into what is written:

* ``glyphs.png``: a row per font face, a column per letter;
* ``glyphs.csv``: what each row is: split, family, face, package, version, licence, and the letters it has;
* ``docs/images/glyphs.png``: some of them, to be looked at.

Fonts are divided by family, never letters: 80 % of the families train, 10 % validate, 10 % test. Families with nearly
the same letters (Helvetica's many copies) count as one, and no picture is there twice.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import logging
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fontTools.ttLib import TTFont, TTLibError
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
DATA = CHECKOUT / "training/edgecnn_training/datasets"

LETTERS = "ABCDEFGHIJ"
SIDE_PX = 28
DRAWN_PX = 160  # drawn large, then averaged down
MAX_STRETCH = 2.0
"""A letter fills the square as in notMNIST, but is never made more than twice as wide or high: an I stays a bar."""
ALIKE = 10.0
"""Mean difference in grey levels below which two fonts count as one family; Arimo and Nimbus Sans differ by 4."""
PER_FAMILY = 3
SHARE = 0.1
MOST_TOGETHER = 12
"""Larger groups of families train: a test split must not be one typeface and its copies."""
STYLES = ("regular", "bold", "italic", "bold italic", "medium", "book", "light", "black", "oblique", "bold oblique")
NOT_LETTERS = frozenset(
    [
        "90-stars-brk-normal",
        "binary-01s-brk-regular",
        "binary-brk-regular",
        "bit-blocks-ttf-brk-regular",
        "d050000l-regular",
        "entangled-layer-b-brk-normal",
        "faux-snow-brk-regular",
        "graze-brk-normal",
        "head-ding-maker-brk-regular",
        "line-dings-brk-normal",
        "numskull-brk-regular",
        "powderworks-brk-regular",
        "qbicle-1-brk-normal",
        "qbicle-2-brk-normal",
        "qbicle-3-brk-normal",
        "qbicle-4-brk-normal",
        "sequence-brk-normal",
        "snailets-brk-normal",
        "solothurn-bold",
        "solothurn-medium",
        "solothurn-oblique",
        "solothurn-regular",
        "standard-symbols-ps-regular",
        "swirled-brk-regular",
        "symmetry-brk-regular",
        "ubuntu-title-book",
        "vertigo-2-brk-normal",
        "vertigo-brk-normal",
        "weaver-brk-normal",
    ]
)
"""Faces whose A to J are drawings, or other letters; found by looking at each of them."""

Letters = npt.NDArray[np.uint8]
"""uint8 ``(10, 28, 28)``: white on black."""


@dataclass(frozen=True)
class Face:
    """A font face with its letters."""

    package: str
    version: str
    license: str
    family: str
    style: str
    letters: Letters

    @property
    def name(self) -> str:
        """``bitstream-vera-sans-bold``."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.family} {self.style}".lower()).strip("-")


def download(packages: Iterable[str], folder: Path) -> None:
    """Fetch packages from Debian's archive that are not there yet."""
    there = {path.name.partition("_")[0] for path in folder.glob("*.deb")}
    missing = sorted(set(packages) - there)
    if missing:
        subprocess.run(["apt-get", "download", "-q", *missing], cwd=folder, check=True)


def faces(folder: Path, licenses: dict[str, str]) -> Iterator[Face]:
    """Every face of the packages in `folder` that has all ten letters."""
    for package in sorted(folder.glob("*.deb")):
        name, version, _ = package.stem.split("_")
        if name not in licenses:
            continue
        unpacked = package.with_suffix("")
        if not unpacked.exists():
            subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
        for path in sorted(unpacked.rglob("*")):
            if path.suffix.lower() in (".ttf", ".otf", ".ttc") and path.is_file() and not path.is_symlink():
                found = read_face(path)
                if found is not None:
                    yield Face(name, version.replace("%3a", ":"), licenses[name], *found)


def read_face(path: Path) -> tuple[str, str, Letters] | None:
    """Family, style and letters of a font file; None where it lacks one of them or cannot be read."""
    try:
        with TTFont(path, fontNumber=0, lazy=True) as font:
            glyphs = font.getBestCmap() or {}
            names = font["name"]
            family, style = names.getBestFamilyName(), names.getBestSubFamilyName()
    except (TTLibError, KeyError, AssertionError):
        return None
    if not family or len({glyphs.get(ord(letter)) for letter in LETTERS} - {None}) < len(LETTERS):
        return None
    try:
        drawing = ImageFont.truetype(str(path), DRAWN_PX, layout_engine=ImageFont.Layout.BASIC)
        letters = [draw(drawing, letter) for letter in LETTERS]
    except OSError:
        return None
    if any(letter is None for letter in letters):
        return None
    return family, style or "Regular", np.stack([letter for letter in letters if letter is not None])


def draw(font: ImageFont.FreeTypeFont, letter: str) -> npt.NDArray[np.uint8] | None:
    """One letter in a square of 28×28; None where it leaves no ink."""
    left, top, right, bottom = (int(edge) for edge in font.getbbox(letter))
    if right <= left or bottom <= top:
        return None
    canvas = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(canvas).text((1 - left, 1 - top), letter, 255, font=font)
    ink = canvas.getbbox()
    if ink is None:
        return None
    drawn = canvas.crop(ink)
    width, height = drawn.size
    box_width, box_height = max(width, height / MAX_STRETCH), max(height, width / MAX_STRETCH)
    padded = Image.new("L", (int(box_width) + 2, int(box_height) + 2))
    x, y = (padded.width - width) // 2, (padded.height - height) // 2
    padded.paste(drawn, (x, y))
    middle = x + width / 2, y + height / 2
    box = (max(0.0, middle[0] - box_width / 2), max(0.0, middle[1] - box_height / 2))
    box = (*box, min(padded.width, middle[0] + box_width / 2), min(padded.height, middle[1] + box_height / 2))
    return np.asarray(padded.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX, box=box))


def families(found: Sequence[Face]) -> list[list[Face]]:
    """Faces grouped by the first word of their family, and with whatever looks nearly the same."""
    parent = list(range(len(found)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, face in enumerate(found):
        word = re.split(r"[\s_-]", re.sub(r"^(TeX Gyre|GFS|Noto|TlwgTypo)\W*", r"\1 ", face.family).lower())
        key = " ".join(word[:2]) if word[0] in ("tex", "gfs", "the", "pt", "new") else word[0]
        index_of = first.setdefault((key, ""), index)
        parent[root(index)] = root(index_of)
    pixels = np.stack([face.letters for face in found]).reshape(len(found), -1).astype(np.float32)
    for index in range(len(found)):
        distance = np.abs(pixels[index + 1 :] - pixels[index]).mean(1)
        for other in np.flatnonzero(distance < ALIKE):
            parent[root(index + 1 + int(other))] = root(index)
    groups: dict[int, list[Face]] = defaultdict(list)
    for index, face in enumerate(found):
        groups[root(index)].append(face)
    return list(groups.values())


def rank(face: Face) -> tuple[int, str]:
    """Plain styles first."""
    style = face.style.lower().replace("roman", "regular")
    return (STYLES.index(style) if style in STYLES else len(STYLES), face.name)


def without_repeats(found: Iterable[Face]) -> list[Face]:
    """Faces with other letters than any before them, and other names; what is no letter is left out."""
    letters: set[bytes] = set()
    names: set[str] = set()
    kept = []
    for face in found:
        pixels = face.letters.tobytes()
        if face.name in NOT_LETTERS | names | {""} or pixels in letters:
            continue
        letters.add(pixels)
        names.add(face.name)
        kept.append(face)
    return kept


def choose(found: Iterable[Face]) -> list[Face]:
    """A few faces of each family, so that none outweighs the others."""
    by_family: dict[str, list[Face]] = defaultdict(list)
    for face in found:
        by_family[face.family].append(face)
    return [face for family in sorted(by_family) for face in sorted(by_family[family], key=rank)[:PER_FAMILY]]


def divide(groups: Sequence[Sequence[Face]], total: int) -> dict[str, list[Face]]:
    """Groups into splits: large ones train, the others by the hash of their first face's name."""
    splits: dict[str, list[Face]] = {"train": [], "validation": [], "test": []}
    for group in sorted(groups, key=lambda group: hashlib.sha256(group[0].name.encode()).hexdigest()):
        wanted = ("test", "validation") if len(group) <= MOST_TOGETHER else ()
        split = next((name for name in wanted if len(splits[name]) < SHARE * total), "train")
        splits[split] += group
    return {name: sorted(chosen, key=lambda face: face.name) for name, chosen in splits.items()}


def write(splits: dict[str, list[Face]], folder: Path) -> Counter[tuple[str, str]]:
    """Write ``glyphs.png`` and ``glyphs.csv``; count the pictures of each split and letter."""
    seen: set[bytes] = set()
    counts: Counter[tuple[str, str]] = Counter()
    with (folder / "glyphs.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("split", "family", "face", "package", "version", "license", "letters"))
        for split, chosen in splits.items():
            for face in chosen:
                new = ""
                for letter, pixels in zip(LETTERS, face.letters, strict=True):
                    if pixels.tobytes() not in seen:  # the bars of two I can be the same to a pixel
                        seen.add(pixels.tobytes())
                        new += letter
                counts.update((split, letter) for letter in new)
                table.writerow((split, face.family, face.name, face.package, face.version, face.license, new))
    rows = [np.concatenate(list(face.letters), axis=1) for chosen in splits.values() for face in chosen]
    Image.fromarray(np.concatenate(rows)).save(folder / "glyphs.png", optimize=True)
    return counts


def contact_sheet(found: Sequence[Face], path: Path, *, columns: int = 40) -> None:
    """A row per letter, each column another face."""
    chosen = np.random.default_rng(0).choice(len(found), columns, replace=False)
    framed = [np.pad(found[i].letters, ((0, 0), (2, 2), (2, 2)), constant_values=96) for i in chosen]
    sheet = np.concatenate([np.concatenate(list(letters)) for letters in framed], axis=1)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(sheet).save(path, optimize=True)


def main() -> None:
    """Draw everything again."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--packages", type=Path, default=Path("build/fonts"), help="where packages are kept")
    options.add_argument("--data", type=Path, default=DATA, help="folder to write glyphs.png and glyphs.csv to")
    given = options.parse_args()
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # what is odd about tables that are not read here
    with (HERE / "glyph_fonts.csv").open(encoding="utf-8", newline="") as file:
        licenses = {row["package"]: row["license"] for row in csv.DictReader(file)}
    given.packages.mkdir(parents=True, exist_ok=True)
    download(licenses, given.packages)
    chosen = choose(without_repeats(faces(given.packages, licenses)))
    groups = families(chosen)
    splits = divide(groups, len(chosen))
    counts = write(splits, given.data)
    contact_sheet(chosen, CHECKOUT / "docs/images/glyphs.png")
    print(f"{len({face.family for face in chosen})} families in {len(groups)} groups, {len(chosen)} faces")
    for split, those in splits.items():
        letters = ", ".join(f"{letter} {counts[split, letter]}" for letter in LETTERS)
        total = sum(counts[split, letter] for letter in LETTERS)
        print(f"{split}: {len({face.family for face in those})} families, {total:,} pictures: {letters}")


if __name__ == "__main__":
    main()
