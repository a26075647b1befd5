"""`report.html`: a page that any browser can show, whatever the run, and whose figures are the run's."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras
from PIL import Image as PILImage
from shapes import draw, write_shapes

start_keras("to test")

from edgecnn_training import recipe as recipes  # noqa: E402  # Keras is started before
from edgecnn_training import run as runs  # noqa: E402
from edgecnn_training import splits  # noqa: E402
from edgecnn_training.complexity import complexity  # noqa: E402
from edgecnn_training.loading import load_dataset  # noqa: E402
from edgecnn_training.networks import build  # noqa: E402
from edgecnn_training.pictures import Floats, measure_normalization  # noqa: E402
from edgecnn_training.report import page  # noqa: E402
from edgecnn_training.report.subject import Subject  # noqa: E402
from edgecnn_training.run_data import codes_of, pictures  # noqa: E402

from edgecnn.card import InputSpec  # noqa: E402
from edgecnn.errors import DataError  # noqa: E402

VOID = {"img", "meta", "wbr"}
LARGEST = 2_000_000


@dataclass
class Page(HTMLParser):
    """A page taken apart; that it can be is half of the test."""

    text: str
    open: list[str] = field(default_factory=list)
    tags: Counter[str] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    alts: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        assert len(values) == len(attributes)
        self.tags[tag] += 1
        self.ids += [str(values["id"])] if "id" in values else []
        self.links += [str(values[name]) for name in ("href", "xlink:href") if name in values]
        if tag == "img":
            self.images.append(str(values["src"]))
            self.alts.append(str(values["alt"]))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cells = []
        assert not {name for name in values if name.startswith("on") or name in ("srcset", "data", "action")}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.rows[-1].append(" ".join(self.cells))

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self.open:
            self.words.append(data.strip())
            self.cells.append(data.strip())

    @property
    def prose(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def check(path: Path) -> Page:
    """Take a report apart, and see that it stands on its own."""
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) < LARGEST
    read = Page(text)
    assert len(read.ids) == len(set(read.ids))
    assert all(link.startswith("#") and link[1:] in read.ids for link in read.links)
    assert not read.tags.keys() & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert not re.search(r"url\((?!#)|@import", text)
    for image in read.images:
        kind, _, data = image.partition(";base64,")
        with PILImage.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
            picture.load()
            assert kind == f"data:image/{str(picture.format).lower()}"
    assert all(read.alts)
    for drawn in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(drawn)
    assert read.tags["section"] == len(page._SECTIONS)
    return read


def make(
    folder: Path, labels: list[str], *, each: int = 10, side: int = 20, mode: str = "L", arch: str = "micro"
) -> Subject:
    """A run that has learned nothing, on pictures with these labels, and its scores."""
    lines = ["path,label,split"]
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for number, label in enumerate(labels):
        for i in range(each):
            name, split = f"pictures/{number}-{i}.png", ("test", "validation", "train")[min(i, 2)]
            PILImage.fromarray(draw(("bar", "column", "disc")[number % 3], rng, side)).convert(mode).save(folder / name)
            quoted = label.replace('"', '""')
            lines.append(f'{name},"{quoted}",{split}')
    (folder / "all.csv").write_text("\n".join(lines), encoding="utf-8")
    data = load_dataset(str(folder / "all.csv"), size=(side, side), channels=None)
    codes = splits.assign(data.records, method="random", seed=0)
    recipe = recipes.read("default", {"arch": arch})
    shape = data.images.shape[1:]
    network = build(recipe, shape, len(data.labels))
    info = runs.RunInfo(
        labels=data.labels,
        input=InputSpec(*shape),
        normalization=measure_normalization(pictures(data, codes, "train")),
        data_location=data.survey.location,
        data_hash=data.survey.data_hash,
        split="given",
        complexity=complexity(network),
        recipe=recipe,
    )
    run = runs.create(
        folder / "run",
        info,
        runs.environment(0, info.data_hash),
        lambda place: splits.write_splits(place / "splits.csv", data.records, codes),
    )
    codes = codes_of(run, data)
    test = pictures(data, codes, "test")
    scores = rng.dirichlet(np.ones(len(labels)), len(test)).astype(np.float32)
    return Subject(run, data, codes, network, scores)


def write(subject: Subject, scores: Floats | None = None, **more: object) -> Page:
    """Write a report, and take it apart."""
    shown = Subject(
        subject.run, subject.data, subject.codes, subject.network, subject.scores if scores is None else scores
    )
    record = {"split": shown.split, "epoch": 1, **shown.evaluation.to_record(), **more}
    runs.write_json(subject.path / "result.json", record)
    path = page.write(subject.run, subject.data, subject.codes, subject.network, shown.scores)
    assert path == subject.path / "report.html"
    return check(path)


@pytest.fixture
def three(tmp_path: Path) -> Subject:
    return make(tmp_path, ["bar", "column", "disc"])


def test_training_ends_with_a_report_whose_figures_are_those_of_the_result(trained: Path) -> None:
    result = json.loads((trained / "result.json").read_text())
    read = check(trained / "report.html")
    low, high = result["interval"]
    assert f"{result['correct']} of {result['n']} test pictures right" in read.prose
    assert f"between {low * 100:.1f} and {high * 100:.1f} %" in read.prose
    matrix = {row[0]: row[1:] for row in read.rows if len(row) == 4 and row[0] in result["labels"]}
    shown = [[0 if cell == "·" else int(cell.split()[0]) for cell in matrix[label]] for label in result["labels"]]
    assert shown == result["confusion"]
    for found in result["per_class"]:
        row = next(row for row in read.rows if len(row) == 5 and row[0] == found["label"])
        assert row[1:3] == [f"{found['correct']} of {found['n']}", f"{found['recall'] * 100:.1f} %"]
    info = json.loads((trained / "run.json").read_text())
    assert f"{info['parameters']:,}" in read.prose
    assert f"{info['macs'] / 1e6:,.1f} M" in read.prose
    assert "tell 5×5 places apart" in read.prose  # 20×20, halved twice
    assert ["class", "train", "validation", "test", "all"] in read.rows
    assert ["all", "144", "18", "18", "180"] in read.rows
    for row in (["epochs", "4", "30"], ["rotate", "0.0", "10.0"], ["arch", "micro", "small"]):
        assert row in read.rows


def test_train_names_the_report_and_its_directory_is_as_it_should_be(
    edgecnn: Edgecnn, shapes: Path, tmp_path: Path
) -> None:
    done = edgecnn("train", shapes, "--run", tmp_path / "run", "--arch", "softmax", "--epochs", "1")
    assert done.code == 0
    assert f"report: {tmp_path / 'run' / 'report.html'}\n" in done.err
    read = check(tmp_path / "run" / "report.html")
    assert f"edgecnn export {tmp_path / 'run'} -o run.onnx" in read.prose
    assert "does not end in global average pooling" in read.prose
    assert "one of the 3 outputs of the first layer" in read.prose


def test_a_report_that_cannot_be_written_is_told_after_the_result_is_safe(
    edgecnn: Edgecnn, trained: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / trained.name)
    (run / "result.json").unlink()
    (run / "report.html").unlink()
    (run / "report.html").mkdir()
    done = edgecnn("train", "--run", run, "--resume")
    assert done.code == 3
    assert json.loads(done.out)["n"] == 18
    assert json.loads((run / "result.json").read_text())["n"] == 18
    assert f"a run must be written to {run / 'report.html'}" in done.err
    assert "free some space, then go on with --resume" in done.err
    (run / "report.html").rmdir()
    assert edgecnn("train", "--run", run, "--resume").code == 0
    again, first = (
        re.sub(r"[\d,]+ MB", "", check(path / "report.html").text) for path in (run, trained)
    )  # peak memory
    assert again == first.replace(str(trained), str(run))
    assert not list(run.rglob(".*"))


def test_names_from_elsewhere_are_shown_as_they_are_and_never_run(tmp_path: Path) -> None:
    labels = ["</td><script>alert(1)</script>", "$x_{1}$ & \"'", "犬"]
    read = write(make(tmp_path, labels))
    for label in labels:
        assert label in read.words
        assert sum(label in alt for alt in read.alts) > 1
    assert "Content-Security-Policy" in read.text
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html.unescape(read.text)


def test_hundreds_of_classes_make_a_page_of_the_usual_size(tmp_path: Path) -> None:
    read = write(make(tmp_path, [f"class {i}" for i in range(300)], each=3))
    assert 40 < len(read.images) < 250
    assert "confusion matrix of 300 classes" in read.alts
    assert "16 of 300 classes" in read.prose
    assert "The 40 of 300 classes with the lowest recall" in read.prose
    assert ["… and 260 larger classes", "260", "260", "260", "780"] in read.rows


def test_thirty_classes_are_a_picture_and_twenty_a_table_without_shares(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert "confusion matrix of 30 classes" in write(make(tmp_path / "a", [f"{i}" for i in range(30)], each=3)).alts
    subject = make(tmp_path / "b", [f"{i}" for i in range(20)], each=3)
    matrix = [row[1:] for row in write(subject).rows if len(row) == 21][1:]
    shown = [[0 if cell == "·" else int(cell) for cell in row] for row in matrix]
    assert shown == subject.evaluation.confusion.tolist()


def test_one_test_picture_makes_a_page(tmp_path: Path) -> None:
    subject = make(tmp_path, ["bar", "column"])
    codes = subject.codes.copy()
    codes[np.flatnonzero(codes == 2)[1:]] = 0
    one = Subject(subject.run, subject.data, codes, subject.network, subject.scores[:1])
    read = write(one)
    assert "of 1 test pictures right" in read.prose
    assert "5 held-out pictures or more are needed" in read.prose


def test_without_a_mistake_the_page_says_so(three: Subject) -> None:
    read = write(three, np.eye(3, dtype=np.float32)[three.truth] * 0.9 + np.float32(0.1 / 3))
    assert "None of 3 pictures was given a wrong label" in read.prose
    assert "Nothing was mixed up" in read.prose


def test_the_surest_mistakes_come_first_with_label_score_and_file(three: Subject) -> None:
    wrong = (three.truth + 1) % 3
    best = np.array([[0.5], [0.9], [0.7]], np.float32)
    scores = np.where(np.eye(3, dtype=bool)[wrong], best, (1 - best) / 2)
    read = write(three, scores)
    shown = [three.labels[label] for label in three.truth[[1, 2, 0]]]
    start = read.words.index("Mistakes", read.words.index("Each class"))
    pattern = r"is (\w+) given \w+ score (\d\.\d\d) pictures/ (\S+)"
    found = re.findall(pattern, " ".join(read.words[start:]))
    names = [three.names[i].removeprefix("pictures/") for i in (1, 2, 0)]
    assert found == list(zip(shown, ["0.90", "0.70", "0.50"], names, strict=True))


@pytest.mark.parametrize(
    ("side", "mode", "arch"), [(224, "RGB", "photo96"), (64, "L", "mlp"), (32, "RGB", "lecture-a")]
)
def test_any_size_and_colour_makes_a_page(tmp_path: Path, side: int, mode: str, arch: str) -> None:
    read = write(make(tmp_path, ["bar", "column", "disc"], side=side, mode=mode, arch=arch))
    kind = "grey" if mode == "L" else "RGB"
    assert f"{side}×{side} {kind}" in read.prose
    sizes = [PILImage.open(io.BytesIO(base64.b64decode(image.partition(",")[2]))).size for image in read.images]
    assert max(max(size) for size in sizes) <= 112


def test_a_temperature_is_shown_before_and_after(three: Subject) -> None:
    without, tempered = write(three), write(three, calibration={"temperature": 2.0}, unknown=None)
    assert without.text.count("<svg") + 1 == tempered.text.count("<svg")
    assert "points as the network gives them, " in tempered.prose
    assert "points at temperature 2.00, as exported" in tempered.prose


def test_a_threshold_for_unknown_pictures_is_told(three: Subject) -> None:
    read = write(three, unknown={"threshold": 0.42, "coverage": 0.95, "error": 0.012, "n": 3})
    assert "Below a score of 0.42 a picture counts as unknown: that holds for 5.0 % of these" in read.prose
    assert "of the others 1.2 % are given a wrong label" in read.prose


def test_without_a_test_split_the_page_says_that_validation_flatters(three: Subject) -> None:
    codes = np.where(three.codes == 2, 0, three.codes).astype(np.uint8)
    read = write(Subject(three.run, three.data, codes, three.network, three.scores))
    assert "3 validation pictures right" in read.prose
    assert "The data has no test split" in read.prose


def test_uneven_classes_have_the_mean_of_the_classes_beside_the_accuracy(three: Subject) -> None:
    scores = np.eye(3, dtype=np.float32)[[0, 0, 0]]
    assert "If every class counts alike" not in write(three, scores).prose
    codes = three.codes.copy()
    codes[np.flatnonzero((three.data.class_index == 0) & (codes == 0))] = 2
    uneven = Subject(three.run, three.data, codes, three.network, np.tile(scores[:1], (int((codes == 2).sum()), 1)))
    assert "If every class counts alike, however few pictures it has: 33.3 %" in write(uneven).prose


def test_what_is_there_twice_is_counted_and_drawn(edgecnn: Edgecnn, tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "data", each=10)
    shutil.copy(data / "bar" / "000.png", data / "disc" / "twin.png")
    done = edgecnn("train", data, "--run", tmp_path / "run", "--arch", "softmax", "--epochs", "1")
    assert done.code == 0
    read = check(tmp_path / "run" / "report.html")
    assert "Pictures under two labels: 1." in read.prose
    assert "pairs of pictures that are identical or nearly so" in read.alts


def test_health_is_told_in_a_table_of_what_is_not_zero(three: Subject) -> None:
    found = {
        "identical_within": {"train": 1234, "test": 2},
        "identical_across": {"test": 5},
        "near_within": {},
        "two_labels": 0,
        "near_two_labels": 3,
        "complete": False,
    }
    runs.write_json(three.path / "health.json", found)
    PILImage.new("RGB", (3000, 100), "red").save(three.path / "duplicates.png")
    read = write(three, leaked=5)
    assert ["identical to another one of their split", "1,234", "0", "2"] in read.rows
    assert ["identical to one nearer to training", "0", "0", "5"] in read.rows
    assert not any("nearly the same" in row[0] for row in read.rows)
    assert "nearly the same as one of another label: 3" in read.prose
    assert "Pictures under two labels" not in read.prose
    assert "there may be more" in read.prose
    assert "5 pictures stand on two sides: accuracy is flattered" in read.prose
    assert "It is flattered: 5 of these pictures" in read.prose


def test_damaged_files_on_the_health_of_the_data_spoil_no_report(three: Subject) -> None:
    (three.path / "health.json").write_text("{")
    assert "There twice" not in write(three).words
    runs.write_json(three.path / "health.json", {"two_labels": 1, "identical_within": 3})
    (three.path / "duplicates.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "duplicates.png cannot be shown" in write(three).prose
    runs.write_json(three.path / "health.json", {"complete": True})
    assert "No picture is there twice." in write(three).words


def test_pictures_that_were_left_out_are_listed_with_the_reason(edgecnn: Edgecnn, shapes: Path, tmp_path: Path) -> None:
    data = shutil.copytree(shapes, tmp_path / "data")
    for i in range(25):
        (data / "bar" / f"text{i:02}.jpg").write_text("not a picture")
    assert edgecnn("train", data, "--run", tmp_path / "run", "--arch", "softmax", "--epochs", "1").code == 0
    read = check(tmp_path / "run" / "report.html")
    assert "Left out: 25" in read.words
    assert "The first 20 of 25; rejected.csv has all." in read.prose
    listed = [row for row in read.rows if row[0].startswith("bar/ text")]
    assert len(listed) == 20
    assert all(row[1].startswith("not an image") for row in listed)


def test_the_same_run_gives_the_same_page(three: Subject) -> None:
    assert write(three).text == write(three).text


def test_a_run_that_is_gone_cannot_be_written_to(three: Subject) -> None:
    shutil.rmtree(three.path)
    with pytest.raises(DataError, match=r"a run must be written to .*report\.html"):
        page.write(three.run, three.data, three.codes, three.network, three.scores)
