"""``edgecnn export --input any``: the file says of any picture what the fixed file says of the scaled one."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras
from PIL import Image as PILImage

start_keras("to test")

from edgecnn_training.export import any_size, container, exporter, front  # noqa: E402  # started above
from edgecnn_training.export.candidates import Candidate, Workshop  # noqa: E402
from edgecnn_training.export.convert import compact, to_onnx  # noqa: E402
from edgecnn_training.export.material import Material, of_run  # noqa: E402

from edgecnn import Classifier  # noqa: E402
from edgecnn.errors import ModelError  # noqa: E402

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "export.md"


def snippet(language: str) -> str:
    """The lines of the guide in a language."""
    part = GUIDE.read_text(encoding="utf-8").partition("## Pictures of any size")[2].partition("\n## ")[0]
    (found,) = re.findall(rf"```{language}\n(.*?)```", part, re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def any_file(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("any") / "signs.onnx"
    exporter.export(trained, path, wish=exporter.Wish("int8", max_drop=6.0, input="any"), data=None, name="shapes")
    return path


@pytest.fixture
def photo(any_file: Path) -> Path:
    """A coloured picture beside the file, larger than the network's 20×20."""
    path = any_file.with_name("photo.jpg")
    noise = np.random.default_rng(3).integers(0, 256, (9, 13, 3), np.uint8)
    PILImage.fromarray(noise).resize((131, 97)).save(path)
    return path


def test_it_says_what_the_fixed_file_says(any_file: Path, exported: dict[str, Path], photo: Path) -> None:
    whole, fixed = Classifier(any_file), Classifier(exported["int8"])
    noise = np.random.default_rng(0)
    pictures = [noise.integers(0, 256, size, np.uint8) for size in [(20, 20, 1), (50, 31, 3), (5, 90), (1, 1, 3)]]
    for picture in [photo, *pictures]:
        np.testing.assert_array_equal(whole.predict(picture).scores, fixed.predict(picture).scores)
    assert whole.card.input == dataclasses.replace(fixed.card.input, sizes="any")
    assert whole.card.more["accuracy"] == fixed.card.more["accuracy"]


def test_the_card_keeps_what_was_found(any_file: Path, exported: dict[str, Path]) -> None:
    card = Classifier(any_file).card
    found = card.more["any_size"]
    assert isinstance(found, dict)
    # the 18 pictures of the test split, and each in another size
    assert [found[key] for key in ("n", "generated", "levels", "difference", "margins")] == [36, 18, 0, 0.0, []]
    test = card.more["self_test"]
    assert isinstance(test, dict)
    how, fixed = (c.more["quantization"] for c in (card, Classifier(exported["int8"]).card))
    assert isinstance(how, dict)
    assert isinstance(fixed, dict)
    assert how["float_operators"] == fixed["float_operators"], "of the network, not of what scales the picture"
    assert sorted(seed % 2 for seed in test["seeds"]) == [0] * 6 + [1] * 6  # pictures of two sizes


def test_the_command_line_takes_the_option(trained: Path, tmp_path: Path, edgecnn: Edgecnn) -> None:
    done = edgecnn("export", trained, "-o", tmp_path / "m.onnx", "--quantize", "none", "--input", "any")
    assert done.code == 0
    assert "any size: 36 pictures of 19 sizes (18 scaled for this, since all have the network's), largest " in done.err
    refused = edgecnn("export", trained, "-o", tmp_path / "n.onnx", "--input", "all")
    assert (refused.code, refused.err) == (2, "error: --input must be one of fixed, any; received 'all'\n")


def made(trained: Path, folder: Path) -> tuple[Material, Candidate]:
    """The float32 candidate of the run, with a front part."""
    material = of_run(trained, None, "shapes", sizes="any")
    workshop = Workshop(folder, material.identity, material.train, material.validation)
    graph = to_onnx(material.model, material.identity.input, material.source.normalization)
    return material, workshop.exact(graph)


def test_a_file_that_scales_otherwise_is_not_written(trained: Path, tmp_path: Path) -> None:
    material, candidate = made(trained, tmp_path)
    assert any_size.prove(candidate, material, tmp_path).difference == 0
    wrong = dataclasses.replace(material.identity.input, fit="stretch")
    container.write(
        candidate.path, compact(front.graft(candidate.network, wrong)), material.identity, candidate.precision, {}
    )
    with pytest.raises(ModelError, match=r"only labels whose scores are within 0\.02 may .*nothing was written"):
        any_size.prove(candidate, material, tmp_path)


def test_only_standard_operators_of_one_set_are_in_the_file(any_file: Path) -> None:
    model = onnx.load(str(any_file))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert {node.domain for node in model.graph.node} == {""}


def test_the_lines_of_python_in_the_guide_give_the_answer_of_the_command_line(
    any_file: Path, photo: Path, edgecnn: Edgecnn
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", snippet("python")], cwd=any_file.parent, capture_output=True, text=True, check=True
    )
    label, score = done.stdout.split()
    record = json.loads(edgecnn("predict", any_file, photo).out)
    assert (label, float(score)) == (record["label"], pytest.approx(record["score"], abs=1e-6))


@pytest.mark.full
def test_the_lines_of_javascript_in_the_guide_give_the_answer_of_the_command_line(
    any_file: Path, photo: Path, edgecnn: Edgecnn, tmp_path: Path
) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs node and npm (Debian: apt install nodejs npm)")
    installed = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--silent", "onnxruntime-web"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode != 0:
        pytest.skip(f"npm could not install onnxruntime-web: {installed.stderr[-300:]}")
    # Node.js has no canvas: this one gives the pixels that a browser's would, had it Pillow's decoder
    with PILImage.open(photo) as picture:
        (tmp_path / "pixels").write_bytes(picture.convert("RGBA").tobytes())
        canvas = {"width": picture.width, "height": picture.height}
    shutil.copy(any_file, tmp_path / "signs.onnx")
    around = f"""import {{ readFileSync }} from "node:fs";
const labels = {json.dumps(Classifier(any_file).card.labels)};
const canvas = {json.dumps(canvas)};
const context = {{ getImageData: () => ({{ data: new Uint8ClampedArray(readFileSync("pixels")), ...canvas }}) }};
"""
    (tmp_path / "predict.mjs").write_text(around + snippet("javascript"), encoding="utf-8")
    done = subprocess.run(["node", "predict.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    label, score = done.stdout.split()
    record = json.loads(edgecnn("predict", any_file, photo).out)
    assert (label, float(score)) == (record["label"], pytest.approx(record["score"], abs=1e-5))
