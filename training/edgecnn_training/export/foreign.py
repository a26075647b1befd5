"""What ``edgecnn export MODEL.keras`` does: a classifier that edgecnn did not train, for the same export as a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np

from edgecnn.card import InputSpec, Json
from edgecnn.errors import DataError, ModelError, UsageError, printable
from edgecnn.preprocess import FITS
from edgecnn_training import confidence, locations, loop, networks, run_data, screen, splits
from edgecnn_training.accuracy import in_batches
from edgecnn_training.complexity import complexity
from edgecnn_training.examples import SPLITS
from edgecnn_training.export import any_size, beside, exporter, head, keras_file, probes
from edgecnn_training.export.claims import Source
from edgecnn_training.export.container import Identity
from edgecnn_training.export.exporter import Wish
from edgecnn_training.export.keras_file import KerasFile
from edgecnn_training.export.material import INPUTS, PARITY_PICTURES, Material
from edgecnn_training.loading import Dataset, load_dataset
from edgecnn_training.pictures import Floats, Images, Indices, Normalization, Pictures, same_pixels

_PIXELS, _FEWEST = 512 * 64 * 64, 32  # generated pictures to prove parity on: 512 of 64×64, fewer of larger ones
_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be known beside the file.

    Attributes:
        path: The ``.keras`` file.
        labels: A text file, a label per line; None is an error that says so.
        scale: What a pixel of 0 to 255 is multiplied with before the network: a number or fraction, or one per channel.
        offset: What is then added.
        fit: How pictures are brought to the network's size.
        data: Labelled pictures to calibrate and measure with, or None.
    """

    path: Path
    labels: Path | None
    scale: str | None
    offset: str | None
    fit: str
    data: str | None


def export(request: Request, output: Path, *, wish: Wish | None = None, name: str | None) -> None:
    """Export a classifier of Keras.

    Args:
        request: The file, and what must be known of it.
        output: The ``.onnx`` file to write; an older one is replaced only when the new one is complete.
        wish: What is asked for; None is the default of everything.
        name: The model's name; None takes the file's.

    Raises:
        UsageError: An option without meaning, labels that do not fit, or scale and offset that are not known.
        SourceError: A file that does not exist.
        DataError: The pictures cannot be used.
        ModelError: The file is refused, or the exported one computes something else.
        SinkError: The file cannot be written.
        AccuracyError: A precision was asked for by name and no file of it passes.
    """
    wish = wish or Wish()
    exporter.check_options(output, wish)
    _check(request, output, wish)
    exporter.deliver(gather(request, exporter.model_name(name or output.stem), wish.input), output, wish)


def _check(request: Request, output: Path, wish: Wish) -> None:
    if request.fit not in FITS:
        raise UsageError(f"--fit must be one of {', '.join(FITS)}; received {request.fit!r}")
    keras_file.check_kind(request.path)
    if request.labels is None:
        raise UsageError(
            "a .keras file does not name its labels; --labels labels.txt must, one on each line, in the order of the "
            "outputs"
        )
    if output.exists() and request.labels.exists() and output.samefile(request.labels):
        raise UsageError(f"--output must be another file than --labels; {output} is both: name another file")
    needy = {"--quantize int8": wish.quantize == "int8", "--prove": wish.prove, "--layers": wish.layers}
    if request.data is None and any(needy.values()):
        asked = next(option for option, wanted in needy.items() if wanted)
        raise UsageError(f"{asked} needs labelled pictures, to calibrate and to measure; name them with --data")
    if request.data is not None and locations.holds(request.data, output):
        raise UsageError(f"--output must lie outside of the data; {output} lies in it: name another file")


def gather(request: Request, name: str, sizes: str = "fixed") -> Material:
    """Read the file, its labels and the pictures; `sizes` is one of `INPUTS`."""
    assert request.labels is not None, "checked before"
    file = keras_file.read(request.path)
    size = complexity(file.model)
    height, width, channels = file.model.input_shape[1:]
    spec = InputSpec(height, width, channels, fit=request.fit, sizes=INPUTS[INPUTS.index(sizes)])
    identity = Identity(name, beside.read_labels(request.labels, file.model.output_shape[-1]), spec)
    normalization, scaling = beside.normalization(request.scale, request.offset, file.model)
    try:
        network, told = _with_logits(file.model, spec, normalization)
    except ModelError as error:
        raise ModelError(f"{request.path}: {error}") from error
    screen.say(f"{request.path}  {width}×{height} {'grey' if channels == 1 else 'RGB'}, fit {spec.fit}, {told}")
    screen.say(scaling)
    whole = _provenance(request.path, file, normalization)
    if request.data is None:
        none, made = _none(spec), _generated(spec)
        source = Source(normalization, size, whole, data_hash="", leaked=None)
        return Material(source, network, identity, "", none, none, none, made, 1.0, 0.0, lambda: iter(made.images))
    data = _load(request.data, spec)
    whole["data"] = {"name": printable(Path(data.survey.location).name), "hash": data.survey.data_hash}
    source = Source(normalization, size, whole, data.survey.data_hash, leaked=None)
    return _measured(source, network, identity, data)


def _provenance(path: Path, file: KerasFile, normalization: Normalization) -> dict[str, Json]:
    """What the card says of where the network is from."""
    shifts = zip(normalization.mean, normalization.std, strict=True)
    return {
        "keras": {"name": printable(path.name), "sha256": file.sha256, "version": file.version},
        "pixels": {
            "scale": [1 / std for std in normalization.std],
            "offset": [0.0 - mean / std for mean, std in shifts],
        },
    }


def _measured(source: Source, network: keras.Model, identity: Identity, data: Dataset) -> Material:
    """With pictures: split as for a training, the temperature fitted on validation."""
    index = _classes(identity.labels, data)[data.class_index]
    alike = same_pixels(data.images)[data.rows]
    codes = splits.assign(data.records, method="random", seed=0, alike=alike)
    split, _ = run_data.held_out(data, codes)

    def part(name: str) -> Pictures:
        chosen = codes == SPLITS.index(name)
        return Pictures(data.images, data.rows[chosen], index[chosen])

    train, validation, held_out = part("train"), part("validation"), part(split)
    screen.say(
        f"{screen.short_path(data.survey.location)}  {len(train):,} pictures to calibrate by, {len(validation):,} to "
        f"choose by, {len(held_out):,} to measure on"
    )
    scorer = loop.keras_scorer(network, source.normalization)
    scores = in_batches(scorer, held_out.images, held_out.rows)
    trusted = in_batches(scorer, validation.images, validation.rows)
    _notes(identity.labels, data, scores, held_out)
    temperature = confidence.fit_temperature(trusted, validation.class_index)
    order = np.argsort(-codes.astype(np.int64), kind="stable")[:PARITY_PICTURES]  # test first
    return Material(
        source=source,
        model=_tempered(network, source.normalization, temperature, held_out, scores),
        identity=identity,
        split=split,
        held_out=held_out,
        train=train,
        validation=validation,
        parity=Pictures(data.images, data.rows[order], index[order]),
        temperature=temperature,
        ece_before=confidence.ece(scores, held_out.class_index),
        as_they_lie=partial(any_size.as_they_lie, data.survey.location, run_data.hashes(data, codes, split)),
    )


def _tempered(
    network: keras.Model, normalization: Normalization, temperature: float, pictures: Pictures, scores: Floats
) -> keras.Model:
    """The network with a temperature, proven on some pictures: it may be put together in any way."""
    hot = networks.with_temperature(network, temperature)
    some = pictures.rows[:_FEWEST]
    after = in_batches(loop.keras_scorer(hot, normalization), pictures.images, some)
    apart = float(np.abs(after - confidence.tempered(scores[: len(some)], temperature)).max())
    if not apart <= exporter.PARITY_LIMIT:
        raise ModelError(
            f"a temperature must change the scores and nothing else; they are {apart:.1e} from what they should be: "
            "this is a fault of edgecnn, please report it with the network's summary; without --data there is no "
            "temperature"
        )
    return hot


def _notes(labels: Sequence[str], data: Dataset, scores: Floats, held_out: Pictures) -> None:
    """What a person should know before they believe the figures."""
    for note in data.notes:
        screen.say(f"note: {note}")
    lacking = [label for label in labels if label not in data.labels]
    if lacking:
        shown = ", ".join(map(repr, lacking[:5])) + (" …" if len(lacking) > 5 else "")
        screen.say(
            f"note: the data has no picture of {len(lacking):,} of {len(labels):,} labels, {shown}: nothing is known "
            "of them"
        )
    screen.say(
        "note: nobody checks whether the network was trained on these pictures: if it was, its accuracy is flattered"
    )
    truth = held_out.class_index
    most = float(np.bincount(truth).max() / len(truth))
    if float((scores.argmax(1) == truth).mean()) <= most:
        screen.say(
            "note: it recognises no more pictures than who always says the most frequent label: check --scale, "
            "--offset, the order of the labels, and --fit"
        )


def _load(location: str, spec: InputSpec) -> Dataset:
    with screen.counter("reading") as seen:
        return load_dataset(
            location, size=(spec.height, spec.width), channels=spec.channels, fit=spec.fit, progress=seen
        )


def _classes(labels: Sequence[str], data: Dataset) -> Indices:
    """For each of the data's labels its place among the network's: int64."""
    foreign = [label for label in data.labels if label not in labels]
    if foreign:
        raise DataError(
            f"the data's labels must be among those of --labels ({', '.join(labels[:20])}); received "
            f"{', '.join(map(repr, foreign[:5]))}: rename or leave out these classes, or correct the labels"
        )
    return np.array([labels.index(label) for label in data.labels], np.int64)


def _with_logits(model: keras.Model, spec: InputSpec, normalization: Normalization) -> tuple[keras.Model, str]:
    """The network without augmentation and with logits, proven to compute what the file computes, and in words what.

    Raises:
        ModelError: It has outputs that are no scores, or computes something else afterwards.
    """
    images = _generated(spec).images
    theirs = _outputs(model, normalization, images)
    plain, left_out = head.without_augmentation(model)
    network, told = head.with_logits(plain)
    if told == "logits" and head.are_probabilities(theirs):
        network, told = head.from_probabilities(network), "probabilities"
    ours = in_batches(loop.keras_scorer(network, normalization), images, np.arange(len(images)))
    apart = float(np.abs(ours - _scores(theirs, told)).max())
    if not apart <= _TOLERANCE:
        raise ModelError(
            f"{told} were expected of the network's end; what it gives is {apart:.1e} from that: edgecnn does not know "
            "the meaning of its last layer; end the network in a Dense layer with activation='softmax' or none"
        )
    names = f"; {', '.join(left_out)} left out, without effect in a prediction" if left_out else ""
    return network, f"gives {told}{names}"


def _outputs(model: keras.Model, normalization: Normalization, images: Images) -> Floats:
    """What the file's own network says, untouched."""
    try:
        outputs = np.concatenate(
            [model.predict_on_batch(normalization(images[i : i + 64])) for i in range(0, len(images), 64)]
        )
    except Exception as error:  # a network of others may raise anything
        raise ModelError(f"Keras cannot compute the network: {type(error).__name__}: {str(error)[:200]}") from error
    if not np.isfinite(outputs).all():
        raise ModelError(
            "what a network answers must be finite numbers; some are not, for generated pictures: train it again with "
            "a lower learning rate, or check --scale and --offset"
        )
    return np.asarray(outputs, np.float32)


def _scores(outputs: Floats, told: str) -> Floats:
    """What a network's outputs mean as probabilities."""
    if told == "probabilities":
        return outputs
    if told == "one probability":
        return np.concatenate([1 - outputs, outputs], 1)
    logits = np.concatenate([np.zeros_like(outputs), outputs], 1) if told == "one logit" else outputs
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    scores: Floats = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
    return scores


def _generated(spec: InputSpec) -> Pictures:
    """Pictures where there are none: those of the self-test's kind, of no class."""
    count = max(_FEWEST, min(PARITY_PICTURES, _PIXELS // (spec.height * spec.width)))
    return Pictures(
        probes.pictures(range(count), replace(spec, sizes="fixed")), np.arange(count), np.zeros(count, np.int64)
    )


def _none(spec: InputSpec) -> Pictures:
    images = np.empty((0, spec.height, spec.width, spec.channels), np.uint8)
    return Pictures(images, np.empty(0, np.int64), np.empty(0, np.int64))
