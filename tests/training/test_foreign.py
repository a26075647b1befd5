"""Classifiers that Keras saved, made elsewhere: what their files become, and what must be known beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from classifiers import SIDE, behind, functional, network, save
from command import Edgecnn
from edgecnn_training.backend import start_keras
from shapes import LABELS, images_of, write_shapes

start_keras("to test", backend="tensorflow")

import keras  # noqa: E402  # started above
from edgecnn_training.export import beside, foreign  # noqa: E402
from edgecnn_training.export.convert import to_onnx  # noqa: E402
from edgecnn_training.export.quantize import run as run_file  # noqa: E402
from keras import layers  # noqa: E402

from edgecnn import Classifier  # noqa: E402
from edgecnn.errors import SourceError, UsageError  # noqa: E402

OPTIONS = ("--scale", "1/255", "--offset", "0")


def by_hand(x: keras.KerasTensor) -> keras.KerasTensor:
    powers = keras.ops.exp(x - keras.ops.max(x, axis=-1, keepdims=True))
    return powers / keras.ops.sum(powers, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier of shapes that Keras alone has trained, its labels and its pictures."""
    folder = tmp_path_factory.mktemp("learned")
    write_shapes(folder / "shapes", each=60, seed=3)
    model = network(end=None)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = images_of(folder / "shapes")
    model.optimizer.learning_rate = 0.01
    model.fit(images / 255, np.repeat(np.arange(3), 60), batch_size=16, epochs=12, verbose=0)
    behind(model, layers.Softmax()).save(folder / "shapes.keras")
    (folder / "labels.txt").write_bytes("\ufeff".encode() + "\r\n".join(LABELS).encode() + b"\r\n\r\n")
    return folder


def test_with_pictures_it_is_quantised_measured_and_used_like_any_other(
    edgecnn: Edgecnn, learned: Path, tmp_path: Path
) -> None:
    file, model = learned / "shapes.keras", tmp_path / "m.onnx"
    named = ("--labels", learned / "labels.txt", "--data", learned / "shapes", "--quantize", "int8", "--max-drop", "6")
    done = edgecnn("export", file, *named, *OPTIONS, "-o", model)
    assert done.code == 0, done.err
    assert "gives probabilities" in done.err
    assert "pixels: x · 0.003922 + 0 of x from 0 to 255" in done.err
    assert "parity with Keras: 180 pictures" in done.err
    assert "nobody checks whether the network was trained on these pictures" in done.err
    record = json.loads(done.out)
    assert (record["precision"], record["split"], record["n"]) == ("int8", "test", 18)
    assert record["top1"] >= 0.9
    card = Classifier(model).card  # with its self-test
    assert card.labels == LABELS
    assert card.more["provenance"]["keras"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()  # type: ignore[index, call-overload]
    assert "recipe" not in card.more["provenance"]  # type: ignore[operator]
    assert "leaked" not in card.more["accuracy"]  # type: ignore[operator]
    assert isinstance(card.more["quantization"]["float_operators"], dict)  # type: ignore[index, call-overload]
    assert card.more["self_test"]["seeds"]  # type: ignore[index, call-overload]
    new = write_shapes(tmp_path / "new", each=5, seed=9)
    said = edgecnn("predict", model, *sorted((new / "disc").iterdir()))
    assert [json.loads(line)["label"] for line in said.out.splitlines()] == ["disc"] * 5
    assert json.loads(edgecnn("evaluate", model, new).out)["top1"] >= 0.9
    assert "top-1" in edgecnn("inspect", model, terminal=True).out
    assert edgecnn("evaluate", model, learned / "shapes").code == 3  # its ranges were chosen on these pictures


@pytest.mark.parametrize(
    ("scale", "offset", "message"),
    [
        ("", "0", "--scale must be a number"),
        ("1", "", "--offset must be a number"),
        ("255/", "0", "--scale must be a number"),
        ("1e-320", "0", "--scale must not be 0, nor below 1e-09 or above 1e\\+09"),
        ("1", "1e39", "--offset must be at most 1e\\+09"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(scale: str, offset: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        beside.normalization(scale, offset, network())


def test_a_link_under_the_temporary_name_is_not_written_through(
    edgecnn: Edgecnn, learned: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / ".m.onnx.partial").symlink_to(tmp_path / "thesis.txt")
    named = ("--labels", learned / "labels.txt", *OPTIONS, "--quantize", "none")
    assert edgecnn("export", learned / "shapes.keras", *named, "-o", tmp_path / "m.onnx").code == 0
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert not (tmp_path / "m.onnx").is_symlink()


def test_a_network_that_has_learned_nothing_is_told(edgecnn: Edgecnn, tmp_path: Path) -> None:
    image = keras.Input((SIDE, SIDE, 1))
    blind = keras.Model(image, keras.layers.Dense(3, kernel_initializer="zeros")(keras.layers.Flatten()(image)))
    file, labels = save(blind, tmp_path, "bar\nring\ndisc\n")
    done = edgecnn("export", file, "--labels", labels, *OPTIONS, "-o", tmp_path / "m.onnx")
    assert done.code == 0
    assert "note: the network says the same of every picture, whatever it shows" in done.err


def test_the_list_of_labels_is_not_replaced(edgecnn: Edgecnn, learned: Path, tmp_path: Path) -> None:
    named = tmp_path / "labels.onnx"
    named.write_text("\n".join(LABELS))
    done = edgecnn("export", learned / "shapes.keras", "--labels", named, *OPTIONS, "-o", named)
    assert (done.code, named.read_text()) == (2, "\n".join(LABELS))
    assert "--output must be another file than --labels" in done.err


def test_labels_must_be_a_small_text_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--labels must be a text file; /dev/zero is none"):
        beside.read_labels(Path("/dev/zero"), 3)
    (tmp_path / "large.txt").write_bytes(b"a\n" * 2**20)
    with pytest.raises(UsageError, match="at most 1,048,576 bytes"):
        beside.read_labels(tmp_path / "large.txt", 3)


@pytest.mark.parametrize("pictures", [True, False])
def test_it_may_take_pictures_of_any_size(edgecnn: Edgecnn, learned: Path, tmp_path: Path, pictures: bool) -> None:
    data = ("--data", learned / "shapes") if pictures else ()
    named = ("--labels", learned / "labels.txt", *data, *OPTIONS, "--quantize", "none", "--fit", "pad")
    for model, more in (("any.onnx", ("--input", "any")), ("fixed.onnx", ())):
        done = edgecnn("export", learned / "shapes.keras", *named, *more, "-o", tmp_path / model)
        assert done.code == 0, done.err
        if more:
            seen = "36 pictures of 19 sizes (18" if pictures else "1,024 generated pictures of"
            assert f"any size: {seen}" in done.err
    whole, fixed = Classifier(tmp_path / "any.onnx"), Classifier(tmp_path / "fixed.onnx")
    noise = np.random.default_rng(1)
    for size in (SIDE, SIDE, 3), (90, 31, 3), (17, 140, 3), (1, 1, 3):
        picture = noise.integers(0, 256, size, np.uint8)
        np.testing.assert_array_equal(whole.predict(picture).scores, fixed.predict(picture).scores)
    assert whole.card.input.sizes == "any"


def test_without_pictures_it_is_half_as_large_and_claims_no_accuracy(
    edgecnn: Edgecnn, learned: Path, tmp_path: Path
) -> None:
    model = tmp_path / "m.onnx"
    done = edgecnn(
        "export", learned / "shapes.keras", "--labels", learned / "labels.txt", *OPTIONS, "-o", model, "--fit", "pad"
    )
    assert done.code == 0, done.err
    assert "parity with Keras: 512 generated pictures" in done.err
    assert "int8 is not tried, and no accuracy is known, without labelled pictures: --data names them" in done.err
    assert "✓ float16" in done.err
    assert json.loads(done.out) == {
        "type": "export",
        "model": str(model),
        "precision": "float16",
        "scheme": "float16",
        "bytes": model.stat().st_size,
    }
    card = Classifier(model).card
    assert not {"accuracy", "calibration", "unknown"} & set(card.more)
    assert card.more["provenance"]["pixels"] == {"scale": [1 / 255], "offset": [0.0]}  # type: ignore[index, call-overload]
    assert card.input.fit == "pad"
    assert "leaked" not in edgecnn("inspect", model, terminal=True).out
    images = images_of(learned / "shapes")
    theirs = keras.models.load_model(learned / "shapes.keras").predict_on_batch(images / 255)
    assert abs(Classifier(model).scores(images) - theirs).max() < 0.01


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: network(), "probabilities"),
        (lambda: network(end=None), "logits"),
        (lambda: behind(network(end=None), layers.Softmax()), "probabilities"),
        (lambda: behind(network(end=None), layers.Activation("softmax")), "probabilities"),
        (lambda: behind(network(end=None), keras.ops.softmax), "probabilities"),
        (lambda: behind(network(end=None), by_hand), "probabilities"),
        (lambda: functional((SIDE, SIDE, 1), network()), "probabilities"),
        (lambda: network(layers.RandomFlip(), layers.RandomRotation(0.2), layers.GaussianNoise(0.3)), "probabilities"),
        (lambda: network(units=1, end="sigmoid"), "one probability"),
        (lambda: behind(network(units=1, end=None), layers.Activation("sigmoid")), "one probability"),
        (lambda: network(units=1, end=None), "one logit"),
    ],
)
def test_scores_are_those_of_the_file_whatever_its_end_is(
    make: Callable[[], keras.Model], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make()
    single = model.output_shape[-1] == 1
    file, labels = save(model, tmp_path, "no\nyes\n" if single else "a\nb\nc\n")
    images = np.random.default_rng(0).integers(0, 256, (16, SIDE, SIDE, 1), np.uint8)
    outputs = np.asarray(model.predict_on_batch(images / 127.5 - 1), np.float64)
    material = foreign.gather(foreign.Request(file, labels, "1/127.5", "-1", "crop", None), "net")
    onnx.save(to_onnx(material.model, material.identity.input, material.source.normalization), tmp_path / "net.onnx")
    found = run_file(tmp_path / "net.onnx", images)
    if "logit" in told:
        outputs = np.concatenate([np.zeros_like(outputs), outputs], 1) if single else outputs
        outputs = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    elif single:
        outputs = np.concatenate([1 - outputs, outputs], 1)
    assert outputs.max() < 0.999  # not saturated: there is something to compare
    assert abs(found - outputs).max() < 1e-5
    assert f"gives {told}" in capsys.readouterr().err


def test_scale_and_offset_may_be_given_for_each_channel(tmp_path: Path) -> None:
    model = network(channels=3)
    file, labels = save(model, tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    request = foreign.Request(
        file, labels, "1/58.395,1/57.12,1/57.375", "-2.1179039,-2.0357143,-1.8044444", "crop", None
    )
    material = foreign.gather(request, "net")
    assert material.source.normalization(images) == pytest.approx((images - mean) / std, abs=1e-5)


@pytest.mark.parametrize("first", [layers.Rescaling(1 / 255), layers.Normalization(mean=100.0, variance=400.0)])
def test_a_network_that_scales_the_pixels_itself_needs_to_be_told_nothing(
    first: keras.Layer, edgecnn: Edgecnn, tmp_path: Path
) -> None:
    model = network(layers.RandomFlip(), first)
    file, labels = save(model, tmp_path)
    done = edgecnn("export", file, "--labels", labels, "-o", tmp_path / "m.onnx", "--quantize", "none")
    assert done.code == 0, done.err
    assert (
        f"as they are, since the network scales them itself (layer '{first.name}', {type(first).__name__})" in done.err
    )
    assert "left out, without effect in a prediction" in done.err
    images = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 1), np.uint8)
    found = Classifier(tmp_path / "m.onnx").scores(images)
    assert abs(found - model.predict_on_batch(images.astype(np.float32))).max() < 1e-5


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--scale", "1"), 2, "does not name its labels; --labels labels.txt must"),
        (
            ("--labels", "LABELS"),
            2,
            "-1 to 1: --scale 1/127.5 --offset -1; ImageNet's mean and deviation: --scale 1/58",
        ),
        (("--labels", "LABELS", "--scale", "0"), 2, "--scale must not be 0"),
        (("--labels", "LABELS", "--scale", "1/0"), 2, "must be a number such as 0.5 or 1/255; received '1/0'"),
        (
            ("--labels", "LABELS", "--offset", "1,2"),
            2,
            "--offset must be a number such as 0.5 or 1/255; received '1,2'",
        ),
        (("--labels", "LABELS", "--scale", "nan"), 2, "received 'nan'"),
        (("--labels", "LABELS", "--scale", "1/255"), 2, "received only --scale: add --offset 0"),
        (("--labels", "LABELS", "--offset", "-1"), 2, "received only --offset: add --scale 1"),
        (("--labels", "nowhere", "--scale", "1"), 3, "--labels nowhere cannot be read"),
        (("--labels", "LABELS", "--scale", "1", "--fit", ""), 2, "--fit must be one of"),
        (("--labels", "LABELS", "--scale", "1", "--fit", "zoom"), 2, "--fit must be one of"),
        (("--labels", "LABELS", "--scale", "1", "--quantize", "int8"), 2, "--quantize int8 needs labelled pictures"),
        (("--labels", "LABELS", "--scale", "1", "--prove"), 2, "--prove needs labelled pictures"),
        (("--labels", "LABELS", "--scale", "1", "--offset", "0", "--data", "nowhere"), 3, "there is no 'nowhere'"),
        (("--labels", "LABELS", "--scale", "1", "-o", "m.tflite"), 2, "must be a file that ends in .onnx"),
    ],
)
def test_what_must_be_known_beside_the_file_is_asked_for(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    edgecnn: Edgecnn,
    learned: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [str(learned / "labels.txt") if word == "LABELS" else word for word in arguments]
    done = edgecnn("export", learned / "shapes.keras", *words)
    assert (done.code, done.out) == (code, ""), done.err
    assert message in done.err
    assert not list(tmp_path.iterdir())


def test_such_options_with_a_run_are_refused(edgecnn: Edgecnn, trained: Path, tmp_path: Path) -> None:
    done = edgecnn("export", trained, "--scale", "1", "--fit", "pad", "-o", tmp_path / "m.onnx")
    assert done.code == 2
    assert "--scale, --fit must go with a MODEL.keras" in done.err


def test_labels_of_the_data_must_be_labels_of_the_network_and_missing_ones_are_told(
    edgecnn: Edgecnn, learned: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("bar\nring\ndisc\n")
    named = ("--labels", labels, *OPTIONS, "--data", learned / "shapes", "-o", tmp_path / "m.onnx")
    done = edgecnn("export", learned / "shapes.keras", *named)
    assert done.code == 3
    assert "the data's labels must be among those of --labels (bar, ring, disc); received 'column'" in done.err
    file, labels = save(network(units=4), tmp_path, "disc\nring\nbar\ncolumn\n")
    done = edgecnn("export", file, *named, "--quantize", "none")
    assert done.code == 0, done.err
    assert "note: the data has no picture of 1 of 4 labels, 'ring'" in done.err


def test_a_wrong_order_of_labels_is_noticed_by_its_accuracy(edgecnn: Edgecnn, learned: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("disc\nbar\ncolumn\n")
    named = ("--labels", tmp_path / "labels.txt", *OPTIONS, "--data", learned / "shapes", "-o", tmp_path / "m.onnx")
    done = edgecnn("export", learned / "shapes.keras", *named, "--quantize", "none")
    assert done.code == 0, done.err
    assert "check --scale, --offset, the order of the labels, and --fit" in done.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a\nb\n", "the network has 3 outputs, labels.txt has 2 labels"),
        (b"a\nb\nc\nd", "the network has 3 outputs, labels.txt has 4 labels"),
        (b"a\nb\na\n", "'a' stands on the lines 1 and 3 of labels.txt"),
        ("e\u0301\n\u00e9\nb\n".encode(), "'é' stands on the lines 1 and 2"),
        (b"a\n\nb\n", "line 2 of labels.txt is ''"),
        (b"a\nb\nc\x07\n", "line 3 of labels.txt is"),
        (b"a\nb\n\xff\xfe\n", "must be a text in UTF-8; labels.txt is none"),
        (b"", "line 1 of labels.txt is ''"),
        (b"".join(b"a label with a number, %d\n" % i for i in range(3_000)), "must fit a model's card, 57,344 bytes"),
    ],
)
def test_a_list_of_labels_that_does_not_fit_is_told_where(
    text: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("labels.txt").write_bytes(text)
    with pytest.raises(UsageError) as error:
        beside.read_labels(Path("labels.txt"), 3_000 if text.count(b"\n") == 3_000 else 3)
    assert message in str(error.value)


def test_labels_are_read_from_files_of_windows_and_for_a_single_output(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("\ufeffno\r\n yes \r\n\r\n".encode())
    assert beside.read_labels(tmp_path / "labels.txt", 1) == ("no", "yes")
    (tmp_path / "labels.txt").write_text("a\nb\nc")
    with pytest.raises(UsageError, match="one output, for which there are two labels"):
        beside.read_labels(tmp_path / "labels.txt", 1)


@pytest.mark.parametrize(("name", "code", "message"), [("gone.keras", 3, "does not exist"), ("notes.txt", 4, "zip")])
def test_what_is_no_file_of_keras_is_told_before_anything_is_asked_for(
    edgecnn: Edgecnn, tmp_path: Path, name: str, code: int, message: str
) -> None:
    (tmp_path / "notes.txt").write_text("a text")
    done = edgecnn("export", tmp_path / name, "-o", tmp_path / "m.onnx")
    assert (done.code, done.out) == (code, "")
    assert "a network to export must be a .keras file" in done.err
    assert message in done.err
    assert not (tmp_path / "m.onnx").exists()
