"""The models that come with edgecnn: their names work where a MODEL is taken, and they are as right as they say."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import Edgecnn
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from edgecnn import Classifier, bundled
from edgecnn.errors import ModelError
from edgecnn.frames import Image

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
NAMES = bundled.names()
each_model = pytest.mark.parametrize("name", NAMES)


def drawn(text: str, *, ink: int, paper: int) -> PILImage.Image:
    """A letter or digit as a photo of it might show it, 200×200."""
    picture = PILImage.new("RGB", (200, 200), (paper,) * 3)
    font = ImageFont.load_default(180)
    ImageDraw.Draw(picture).text((100, 100), text, (ink,) * 3, font, "mm")
    return picture


def records(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_four_kinds_of_pictures_that_were_promised_are_there_and_take_at_most_a_megabyte() -> None:
    assert {"digits", "letters", "objects", "signs"} <= set(NAMES)
    assert sum(bundled.file(name).stat().st_size for name in NAMES) <= 1_000_000
    files = {path.name for path in bundled.FOLDER.iterdir()}
    assert files == {f"{name}.{ending}" for name in NAMES for ending in ("onnx", "toml")}


@each_model
def test_each_is_a_tested_int8_file_of_a_small_network_by_its_own_name(name: str) -> None:
    with Classifier(name, device="cpu") as model:
        card = model.card
        assert (card.name, card.precision) == (name, "int8")
        assert len(card.more["self_test"]["seeds"]) >= 8  # type: ignore[arg-type, index, call-overload]
        assert card.more["accuracy"]["split"] == "test"  # type: ignore[index, call-overload]
        assert card.more["accuracy"]["leaked"] == 0  # type: ignore[index, call-overload]
        assert card.more["provenance"]["recipe"]["arch"] in ("small", "micro")  # type: ignore[index, call-overload]


@each_model
def test_what_is_noted_of_the_making_agrees_with_the_card(name: str) -> None:
    making = bundled.making(name)
    with Classifier(name, device="cpu") as model:
        recipe = model.card.more["provenance"]["recipe"]  # type: ignore[index, call-overload]
        data = model.card.more["provenance"]["data"]  # type: ignore[index, call-overload]
    train, export = map(shlex.split, making.commands)
    assert train[:2] == ["edgecnn", "train"]
    assert train[2] == (Path(making.data).name or train[2]) == data["name"]
    options = dict(zip(train[3::2], train[4::2], strict=True))
    assert data["split"] in ("given", options.get("--split"))
    assert recipe["epochs"] == int(options.get("--epochs", recipe["epochs"]))
    changes = (train[i + 1] for i, word in enumerate(train) if word == "--set")
    for key, _, value in (change.partition("=") for change in changes):
        assert recipe[key] == tomllib.loads(f"value = {value}")["value"], key
    assert export[:7] == f"edgecnn export {options['--run']} -o {name}.onnx --quantize int8".split()


@pytest.mark.parametrize(("ink", "paper"), [(255, 0), (0, 255), (60, 200)])
@pytest.mark.parametrize(("name", "text"), [("digits", "2357"), ("letters", "ABDEH")])
def test_writing_is_read_light_on_dark_and_dark_on_light(name: str, text: str, ink: int, paper: int) -> None:
    with Classifier(name) as model:
        assert "".join(model.predict(drawn(one, ink=ink, paper=paper)).label for one in text) == text


def test_a_name_predicts_with_nothing_trained(
    edgecnn: Edgecnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    drawn("5", ink=30, paper=220).save("photo.png")
    listed = edgecnn("models")
    (typed,) = re.findall(r"next:  edgecnn (.*)", listed.err)
    end = edgecnn(*typed.split())
    assert (end.code, records(end.out)[0]["label"]) == (0, "5")
    assert end.err.startswith("digits, int8, 10 labels, on ")


def test_the_list_says_what_the_cards_say(edgecnn: Edgecnn) -> None:
    listed = records(edgecnn("models").out)
    assert [record["name"] for record in listed] == NAMES
    for record in listed:
        shown = json.loads(edgecnn("inspect", record["name"]).out)
        assert record["accuracy"] == shown["card"]["accuracy"]
        assert record["labels"] == shown["card"]["labels"]
        assert record["size_bytes"] == shown["size_bytes"]
        assert record["network"] == shown["card"]["provenance"]["recipe"]["arch"]


def test_on_a_terminal_the_list_is_for_people(edgecnn: Edgecnn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    lines = edgecnn("models", terminal=True).out.splitlines()
    starts = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert starts == NAMES
    for name in NAMES:
        making, first = bundled.making(name), next(i for i, line in enumerate(lines) if line.startswith(f"{name} "))
        own = "\n".join(lines[first : first + 6 + len(making.elsewhere)])
        for part in (making.description, making.limits, making.source, making.licence, "int8", "KB", "top-1 "):
            assert part in own
        for what, found in making.elsewhere.items():
            assert f"{found['correct'] / found['n'] * 100:.2f} % of {found['n']:,}: {what}" in own
    assert records(edgecnn("models", "--json", terminal=True).out)[0]["name"] == NAMES[0]


def test_the_list_needs_no_onnx_runtime() -> None:
    program = "import sys; sys.modules['onnxruntime'] = None; from edgecnn.cli import main; main()"
    end = subprocess.run([sys.executable, "-c", program, "models"], capture_output=True, text=True, check=True)
    assert len(records(end.stdout)) == len(NAMES)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_list_that_cannot_be_written_is_told(options: list[str]) -> None:
    command = [sys.executable, "-m", "edgecnn", "models", *options]
    with Path("/dev/full").open("w") as full:
        end = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (end.returncode, "next:" in end.stderr) == (6, False)
    assert "results must be written somewhere; standard output: No space left" in end.stderr


@pytest.mark.parametrize("name", ["digits.toml", "letters.onnx"])
def test_a_damaged_installation_is_told(
    edgecnn: Edgecnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shutil.copytree(bundled.FOLDER, tmp_path / "models")
    monkeypatch.setattr("edgecnn.bundled.FOLDER", tmp_path / "models")
    whole = (tmp_path / "models" / name).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"\xff = 1"):
        (tmp_path / "models" / name).write_bytes(damaged)
        end = edgecnn("models")
        assert (end.code, end.out) == (4, "")
        assert f"{name}: this file of edgecnn is damaged" in end.err
        assert end.err.rstrip().endswith("install edgecnn again")


def test_the_doctor_tries_a_model_by_its_name(edgecnn: Edgecnn) -> None:
    found = [record for record in records(edgecnn("doctor", "digits").out) if record["what"] == "model"]
    assert [record["state"] for record in found] == ["ok"]
    assert str(found[0]["text"]).startswith("digits, int8, on ")


def test_what_exists_is_a_path_before_it_is_a_name(
    edgecnn: Edgecnn, colors: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(colors.parent)
    colors.rename("digits")
    end = edgecnn("predict", "digits", photos)
    assert [record["label"] for record in records(end.out)] == ["green", "blue", "red"]
    Path("digits").unlink()
    Path("digits").symlink_to("gone")
    assert "digits: no such file" in edgecnn("predict", "digits", photos).err
    Path("digits").unlink()
    Path("digits").mkdir()
    for command in (["predict", "digits", photos], ["inspect", "digits"]):
        end = edgecnn(*command)
        assert (end.code, end.out) == (4, "")
        assert "the folder of this name hides the model that comes with edgecnn: type the command in another" in end.err


def test_a_name_that_is_none_lists_those_there_are_and_the_likeliest(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as error:
        Classifier("digit")
    assert str(error.value) == (
        "digit: no such file; name the file that `edgecnn export` wrote, or one of "
        f"{', '.join(NAMES)}; did you mean 'digits'?"
    )
    with pytest.raises(ModelError, match="did you mean"):
        Classifier("letter")
    with pytest.raises(ModelError, match=f"or one of {', '.join(NAMES)}$"):
        Classifier(tmp_path / "nothing.onnx")


def test_a_model_beside_what_was_typed_is_what_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos.onnx").touch()
    Path("photos").mkdir()
    for typed in ("photos", "photos.onx", "photo", f"{tmp_path}/photos"):
        with pytest.raises(ModelError, match=r"; did you mean '.*photos\.onnx'\?"):
            Classifier(typed)
    Path("letters").symlink_to("gone")
    with pytest.raises(ModelError) as error:
        Classifier("letters")
    assert "did you mean" not in str(error.value)


def correct(model: Classifier, images: Image, labels: list[str], *, negatives: bool = False) -> int:
    """How many of these pictures, as they lie, the model gives its right label."""
    right = 0
    for start in range(0, len(images), 500):
        some = images[start : start + 500]
        said = model.predict_batch(list(255 - some if negatives else some))
        right += sum(one.label == label for one, label in zip(said, labels[start : start + 500], strict=True))
    return right


def about(right: float, count: int) -> object:
    """So many, but for one in a thousand: another CPU's kernels round otherwise, and a picture on an edge may turn."""
    return pytest.approx(right, abs=count / 1000)


def shared(path: str) -> Path:
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"{path} is not here; it would lie in a folder shared/data beside the checkout")
    return found


def idx(name: str) -> Image:
    """An IDX file's numbers: after two bytes a type, the number of axes, and their lengths as 4 bytes each."""
    data = gzip.decompress(shared(f"mnist/{name}.gz").read_bytes())
    axes = np.frombuffer(data, ">u4", data[3], 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * len(axes)).reshape(axes)


def digits_of_the_test_split() -> tuple[Image, list[str]]:
    return idx("t10k-images-idx3-ubyte"), [str(label) for label in idx("t10k-labels-idx1-ubyte")]


def letters_of_the_test_split() -> tuple[Image, list[str]]:
    spec = importlib.util.find_spec("edgecnn_training.datasets")
    assert spec is not None
    folder = Path(next(iter(spec.submodule_search_locations or [])))
    with (folder / "glyphs.csv").open(encoding="utf-8", newline="") as file:
        faces = list(csv.DictReader(file))
    with PILImage.open(folder / "glyphs.png") as sheet:
        pixels = np.asarray(sheet)
    wanted = [(row, letter) for row, face in enumerate(faces) if face["split"] == "test" for letter in face["letters"]]
    places = [(28 * row, 28 * "ABCDEFGHIJ".index(letter)) for row, letter in wanted]
    return np.stack([pixels[y : y + 28, x : x + 28] for y, x in places]), [letter for _, letter in wanted]


def members(path: str, pattern: str) -> list[tuple[re.Match[str], Image]]:
    """The pictures of an archive whose names are like this."""
    found = []
    with tarfile.open(shared(path)) as archive:
        for member in archive:
            match = re.fullmatch(pattern, member.name)
            file = archive.extractfile(member) if match else None
            if match and file:
                found.append((match, np.asarray(PILImage.open(file).convert("RGB"))))
    return found


def objects_of_the_test_split() -> tuple[Image, list[str]]:
    found = members("cifar10/cifar10-jpeg.tar.xz", r"cifar10/test/(\w+)/.*\.jpg")
    return np.stack([image for _, image in found]), [match[1] for match, _ in found]


def signs_of_the_test_split() -> tuple[Image, list[str]]:
    """The last 16 of each class, by the numbers that the camera gave."""
    found = members("sign-digits/sign-digits.tar", r"sign-digits/(\d)/IMG_(\d+)\.JPG")
    found.sort(key=lambda one: (one[0][1], int(one[0][2])))
    classes = [[one for one in found if one[0][1] == label][-16:] for label in "0123456789"]
    last = [one for own in classes for one in own]
    return np.stack([image for _, image in last]), [match[1] for match, _ in last]


TEST_SPLITS: dict[str, Callable[[], tuple[Image, list[str]]]] = {
    "digits": digits_of_the_test_split,
    "letters": letters_of_the_test_split,
    "objects": objects_of_the_test_split,
    "signs": signs_of_the_test_split,
}


@each_model
def test_the_file_is_as_right_on_the_test_split_as_its_card_says(name: str) -> None:
    """The pictures are read here a second way: by nothing of the training package."""
    images, labels = TEST_SPLITS[name]()
    with Classifier(name, device="cpu") as model:
        claimed = model.card.more["accuracy"]
        assert isinstance(claimed, dict)
        assert claimed["n"] == len(images)
        assert correct(model, images, labels) == about(claimed["top1"] * len(images), len(images))  # type: ignore[operator]


@pytest.mark.parametrize("name", ["digits", "letters"])
def test_the_file_is_as_right_on_negatives_as_is_noted(name: str) -> None:
    (claimed,) = (found for what, found in bundled.making(name).elsewhere.items() if "dark on light" in what)
    images, labels = TEST_SPLITS[name]()
    with Classifier(name, device="cpu") as model:
        assert claimed["n"] == len(images)
        assert correct(model, images, labels, negatives=True) == about(claimed["correct"], len(images))


def test_the_letters_are_as_right_on_notmnist_as_is_noted() -> None:
    (claimed,) = (found for what, found in bundled.making("letters").elsewhere.items() if "notMNIST" in what)
    found, right = 0, 0
    with (
        tarfile.open(shared("notmnist/notMNIST_small.tar.gz")) as archive,
        Classifier("letters", device="cpu") as model,
    ):
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            try:
                with PILImage.open(file) as picture:
                    pixels = np.asarray(picture)
            except OSError:  # three of the members are no pictures
                continue
            said = model.predict(pixels).label
            found, right = found + 1, right + (said == Path(member.name).parent.name)
    assert (found, right) == (claimed["n"], about(claimed["correct"], found))
