"""`--weights`: files in each of Keras's forms, ImageNet's from Keras's cache, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import Edgecnn
from edgecnn_training.backend import start_keras
from shapes import write_shapes

start_keras("to test")

import keras  # noqa: E402  # started above
from edgecnn_training import applications, homes, pretrained  # noqa: E402
from edgecnn_training.recipe import Recipe  # noqa: E402

from edgecnn.errors import DataError, UsageError  # noqa: E402

ARCH, OPTIONS = "keras:MobileNetV2", {"alpha": 0.35}
SMALL = ("--arch", ARCH, "--set", "options={alpha=0.35}", "--size", "32")


@pytest.fixture(scope="module")
def original() -> keras.Model:
    """MobileNetV2 with a top for five classes, and with moving statistics that are none of a fresh network."""
    model = keras.applications.MobileNetV2(weights=None, classes=5, input_shape=(32, 32, 3), alpha=0.35)
    rng = np.random.default_rng(0)
    shifted = [
        weight + rng.uniform(0, 0.2, weight.shape) if weight.ndim == 1 else weight for weight in model.get_weights()
    ]
    model.set_weights(shifted)
    return model


@pytest.fixture(scope="module")
def files(original: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One network in all forms: of Keras 3 and 2, with and without its top."""
    folder = tmp_path_factory.mktemp("weights")
    without = keras.Model(original.input, original.layers[-3].output)
    for name, model in (("top", original), ("no-top", without)):
        model.save_weights(folder / f"{name}.weights.h5")
        for form in ("keras", "h5"):
            model.save(folder / f"{name}.{form}")
    return folder


def images(count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 255, (count, 32, 32, 3)).astype(np.float32)


@pytest.mark.parametrize("form", [".weights.h5", ".keras", ".h5"])
@pytest.mark.parametrize("top", ["top", "no-top"])
def test_a_file_gives_the_features_that_keras_computes(original: keras.Model, files: Path, top: str, form: str) -> None:
    recipe = Recipe(arch=ARCH, options=OPTIONS, weights=str(files / f"{top}{form}"))
    start = pretrained.read(recipe, (32, 32))
    network = applications.builder(ARCH)((32, 32, 3), 4, **OPTIONS)
    head = network.get_weights()[-2:]
    start.put_into(network)
    ours = keras.Model(network.input, network.layers[-3].output)
    theirs = keras.Model(original.input, original.layers[-2].output)
    expected = np.asarray(theirs(applications.preprocess(ARCH, images())))
    found = np.asarray(ours(applications.normalization(ARCH)(images())))
    assert found == pytest.approx(expected, abs=1e-5 * float(np.abs(expected).max()))
    assert np.array_equal(network.get_weights()[-2], head[0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.h5", None, r"must be imagenet, none or a file with weights; .*gone.h5' does not exist"),
        ("a.pth", b"x", r"must be one of Keras, \.keras, \.h5, \.hdf5; received"),
        (
            "junk.h5",
            b"junk",
            "must hold weights of MobileNetV2 with the options {'alpha': 0.35}.* Keras says: .*signature",
        ),
        ("junk.keras", b"junk", "must hold weights of MobileNetV2.* not a zip file"),
        ("empty.weights.h5", b"", "must hold weights of MobileNetV2"),
    ],
)
def test_a_file_that_holds_no_weights_is_told(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        pretrained.read(Recipe(arch=ARCH, options=OPTIONS, weights=str(tmp_path / name)), (32, 32))


@pytest.mark.parametrize("form", [".weights.h5", ".keras", ".h5"])
def test_a_file_of_another_width_is_told_with_how_to_set_it(files: Path, form: str) -> None:
    recipe = Recipe(arch=ARCH, options={"alpha": 0.5}, weights=str(files / f"no-top{form}"))
    with pytest.raises(DataError, match=r"with the options {'alpha': 0.5}.*--set 'options={alpha=0.35}'"):
        pretrained.read(recipe, (32, 32))


def test_a_file_with_weights_that_are_no_numbers_is_told_before_the_training(
    original: keras.Model, tmp_path: Path
) -> None:
    broken = keras.models.clone_model(original)
    weights = original.get_weights()
    weights[3] = np.full_like(weights[3], np.nan)
    broken.set_weights(weights)
    broken.save(tmp_path / "broken.keras")
    recipe = Recipe(arch=ARCH, options=OPTIONS, weights=str(tmp_path / "broken.keras"))
    with pytest.raises(DataError, match=r"must hold finite numbers; some in .*broken\.keras are not: name another"):
        pretrained.read(recipe, (32, 32))


def test_a_file_of_another_network_is_told(files: Path) -> None:
    recipe = Recipe(arch="keras:VGG16", weights=str(files / "no-top.h5"))
    with pytest.raises(DataError, match=r"must hold weights of VGG16 with the options {}"):
        pretrained.read(recipe, (32, 32))


def test_weights_go_with_a_network_of_keras_only(edgecnn: Edgecnn) -> None:
    done = edgecnn("train", "nowhere", "--weights", "imagenet")
    assert done.code == 2
    assert "received --weights imagenet with --arch small: leave out --weights" in done.err


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keras's folder of downloads, empty, on a machine whose network answers nobody."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the port for what is to be discarded
    folder = homes.keras_home() / "models"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def test_imagenets_weights_without_a_network_are_exit_3_with_what_to_put_where(
    edgecnn: Edgecnn, cache: Path, tmp_path: Path
) -> None:
    done = edgecnn("train", "nowhere", *SMALL, "--weights", "imagenet", "--run", tmp_path / "run")
    assert done.code == 3
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    assert f"/{name}; then put it here as {cache / name}, or name it with --weights PATH" in done.err
    assert not done.out
    assert not (tmp_path / "run").exists()
    assert not list(cache.iterdir())


def test_imagenets_weights_are_taken_from_where_they_were_put(files: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    shutil.copy(files / "no-top.h5", cache / name)
    ours = pretrained.read(Recipe(arch=ARCH, options=OPTIONS, weights="imagenet"), (32, 32))
    theirs = pretrained.read(Recipe(arch=ARCH, options=OPTIONS, weights=str(files / "no-top.h5")), (32, 32))
    assert ours.sha256 == theirs.sha256


def test_a_damaged_file_in_kerass_cache_is_told(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5").write_bytes(b"half")
    with pytest.raises(DataError, match=f"the whole file that Keras publishes.* Delete the file of {ARCH} in {cache}"):
        pretrained.read(Recipe(arch=ARCH, options=OPTIONS, weights="imagenet"), (32, 32))


def test_options_for_which_there_are_no_imagenet_weights_are_a_usage_error(cache: Path) -> None:
    with pytest.raises(
        UsageError, match=r"has no ImageNet weights for 32x32 and {'alpha': 0.4}; .*alpha must be one of"
    ):
        pretrained.read(Recipe(arch=ARCH, options={"alpha": 0.4}, weights="imagenet"), (32, 32))


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keras").write_text("a file where a folder should be")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    with pytest.raises(DataError, match="set KERAS_HOME to a folder of yours"):
        pretrained.read(Recipe(arch=ARCH, options=OPTIONS, weights="imagenet"), (32, 32))


def test_the_published_variance_of_efficientnet_scales_as_kerass_second_scaling_does() -> None:
    std = np.array(applications.published_std("keras:EfficientNetB0"), np.float32)
    layer = keras.layers.Normalization(axis=3)
    network = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Rescaling(1 / 255), layer])
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    layer.set_weights([mean, std, np.array(0, layer.get_weights()[2].dtype)])
    layer.finalize_state()
    pixels = images(1)[:, :4, :4]
    expected = np.asarray(network(pixels)) / np.sqrt(std)
    pretrained.put_variance_right(network, std)
    assert np.asarray(network(pixels)) == pytest.approx(expected, abs=1e-5)
    assert expected == pytest.approx((pixels / 255 - mean) / std, abs=1e-5)  # the paper's scaling
    pretrained.put_variance_right(network, std)  # right already
    assert np.asarray(network(pixels)) == pytest.approx(expected, abs=1e-5)


def test_grey_pictures_are_trained_from_weights_exported_and_predicted(
    edgecnn: Edgecnn, files: Path, tmp_path: Path
) -> None:
    data, run, weights = write_shapes(tmp_path / "shapes", each=12), tmp_path / "run", tmp_path / "own.keras"
    shutil.copy(files / "top.keras", weights)
    done = edgecnn("train", data, *SMALL, "--weights", weights, "--run", run, "--epochs", "2", "--batch-size", "8")
    assert done.code == 0, done.err
    assert "the pictures are grey and become RGB" in done.err
    assert f"weights of {weights}; epochs: 1 of the head alone, then 1 of all layers, at rates up to 0.0001" in done.err
    noted = json.loads((run / "weights.json").read_text())
    assert noted["weights"] == str(weights)
    done = edgecnn("export", run, "-o", tmp_path / "m.onnx", "--quantize", "none")
    assert done.code == 0, done.err
    done = edgecnn("predict", tmp_path / "m.onnx", data / "disc" / "000.png")
    assert done.code == 0
    assert json.loads(done.out)["label"] in ("bar", "column", "disc")
    shutil.rmtree(run / "checkpoints")
    shutil.copy(files / "no-top.keras", weights)
    expected = json.loads((run / "result.json").read_text())["correct"]
    assert json.loads(edgecnn("train", "--run", run, "--resume").out)["correct"] == expected  # the same body
    shutil.rmtree(run / "checkpoints")
    (run / "weights.json").write_text('{"sha256": "another"}')
    done = edgecnn("train", "--run", run, "--resume")
    assert done.code == 3
    assert "must begin with the weights it began with" in done.err
    (run / "weights.json").unlink()
    assert "weights.json is damaged" in edgecnn("train", "--run", run, "--resume").err
