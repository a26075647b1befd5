"""What ``edgecnn export`` does: convert, prove parity, make candidates, choose on validation, pass on test, write.

Every figure is measured on the files themselves, through `edgecnn.Classifier`, the code that will run them.
"""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecnn.card import InputSpec
from edgecnn.classifier import Classifier
from edgecnn.errors import AccuracyError, ModelError, SinkError, UsageError
from edgecnn.files import replacing, temporary_name
from edgecnn.self_test import SelfTest
from edgecnn_training import loop, screen
from edgecnn_training.accuracy import in_batches
from edgecnn_training.disk import scratch
from edgecnn_training.export import any_size, claims, container, gate, islands, layers, probes, shown
from edgecnn_training.export.any_size import AnySize
from edgecnn_training.export.bound import CONFIDENCE
from edgecnn_training.export.candidates import Candidate, Workshop, timed
from edgecnn_training.export.claims import Shipped
from edgecnn_training.export.convert import to_onnx
from edgecnn_training.export.explain import Maps
from edgecnn_training.export.gate import Loss
from edgecnn_training.export.layers import Layer
from edgecnn_training.export.material import INPUTS, Material, of_run
from edgecnn_training.pictures import Floats, Images
from edgecnn_training.run import write_text

CHOICES = ("auto", "int8", "float16", "none")
PARITY_LIMIT = 1e-4
"""Largest difference of a score between Keras and the float32 file; 2e-6 is usual."""
_SCRATCH_BYTES = 1 << 20
_SAME = 1e-4  # scores that differ by less tell no pictures apart
_ALONE = 8  # pictures that are also predicted one by one


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for.

    Attributes:
        quantize: One of `CHOICES`.
        max_drop: Percentage points of top-1 that may be lost against float32.
        prove: Whether the upper bound of the loss must be within `max_drop`, and not only the measured loss.
        target: One of `gate.TARGETS`.
        explain: Whether the file tells where it looks, in a second output.
        input: One of `INPUTS`: whether the file takes pictures of the network's size, or of any.
        layers: Whether to show what int8 does to each layer, and keep it in the run.
    """

    quantize: str = "auto"
    max_drop: float = 0.5
    prove: bool = False
    target: str = "any"
    explain: bool = False
    input: str = "fixed"
    layers: bool = False


def export(run_path: Path, output: Path, *, wish: Wish | None = None, data: str | None, name: str | None) -> None:
    """Export the best checkpoint of a run.

    Args:
        run_path: The run's directory.
        output: The ``.onnx`` file to write; an older one is replaced only when the new one is complete.
        wish: What is asked for; None is the default of everything.
        data: Where the run's data lies now; None is where it lay.
        name: The model's name; None takes the file's.

    Raises:
        UsageError: An option without meaning, or one that the network cannot have.
        DataError: The run or its data cannot be used.
        SinkError: The file cannot be written.
        ModelError: The exported file computes something else than Keras.
        AccuracyError: A precision was asked for by name and no file of it passes.
    """
    wish = wish or Wish()
    check_options(output, wish)
    material = of_run(run_path, data, model_name(name or output.stem), output, wish.input)
    deliver(material, output, wish, keep=run_path)


def deliver(material: Material, output: Path, wish: Wish, *, keep: Path | None = None) -> None:
    """Convert, prove, choose and write; raises what `export` does.

    Args:
        material: The network and its pictures.
        output: The file to write.
        wish: What is asked for.
        keep: The folder for ``layers.csv``, if there is one.
    """
    parameters = material.source.complexity.parameters
    with scratch("to export", _SCRATCH_BYTES + 72 * parameters) as folder:  # up to 18 files of at most four bytes each
        maps = Maps(material, folder) if wish.explain else None
        workshop = Workshop(folder, material.identity, material.train, material.validation)
        graph = to_onnx(material.model, material.identity.input, material.source.normalization)
        exact = workshop.exact(graph)
        keras_says = _prove_parity(exact, material)
        if maps:
            maps.prove(exact)
        if len(material.train) and (wish.quantize in ("auto", "int8") or wish.layers):
            _examine(workshop, material, wish, keep)
        shipped = _choose(workshop, exact, material, keras_says, wish)
        if maps:
            shipped = maps.added_to(shipped)
        proof = any_size.prove(shipped.candidate, material, folder) if wish.input == "any" else None
        _write(output, shipped, material, proof)
    _finish(output, shipped, material, wish, workshop.layers)


def check_options(output: Path, wish: Wish) -> None:
    """Raise a UsageError for an option without meaning."""
    if wish.quantize not in CHOICES:
        raise UsageError(f"--quantize must be one of {', '.join(CHOICES)}; received {wish.quantize!r}")
    if wish.input not in INPUTS:
        raise UsageError(f"--input must be one of {', '.join(INPUTS)}; received {wish.input!r}")
    if wish.target not in gate.TARGETS:
        raise UsageError(f"--target must be one of {', '.join(gate.TARGETS)}; received {wish.target!r}")
    if not (math.isfinite(wish.max_drop) and 0 <= wish.max_drop <= 100):
        raise UsageError(f"--max-drop must be 0 to 100 percentage points; received {wish.max_drop}")
    if wish.prove:
        gate.pictures_needed(wish.max_drop, 1)
    if output.suffix != ".onnx":
        raise UsageError(f"--output must be a file that ends in .onnx; received {str(output)!r}")
    if output.is_dir():
        raise UsageError(f"--output must be a file; {output} is a folder: name a file in it")
    folder = output.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"--output must lie in a folder that exists; make {folder} first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SinkError(f"--output must lie in a folder that can be written to, and {folder} cannot; name another")
    if temporary_name(output).is_dir():
        raise SinkError(f"the model is first written as {temporary_name(output)}, which is a folder: remove that")


def _prove_parity(exact: Candidate, material: Material) -> Floats:
    """Compare the float32 file with Keras on real pictures, and give back what Keras says of them.

    Raises:
        ModelError: A score differs by more than `PARITY_LIMIT`.
    """
    chosen = material.parity
    with Classifier(exact.path, device="cpu") as classifier:
        ours = in_batches(classifier.scores, chosen.images, chosen.rows)
        alone = in_batches(classifier.scores, chosen.images, chosen.rows[:_ALONE], size=1)
    scorer = loop.keras_scorer(material.model, material.source.normalization)
    keras_says = in_batches(scorer, chosen.images, chosen.rows)
    difference = float(np.abs(ours - keras_says).max())
    flips = int((ours.argmax(1) != keras_says.argmax(1)).sum())
    kind = "pictures" if len(material.held_out) else "generated pictures"
    text = f"{len(chosen):,} {kind}, largest difference {difference:.1e}, {flips} labels changed"
    if not difference <= PARITY_LIMIT:
        raise ModelError(
            f"the exported file must agree with Keras within {PARITY_LIMIT:g}; {text}: nothing was written. "
            "This is a fault of the network's layers or of edgecnn; please report it with the architecture"
        )
    apart = float(np.abs(alone - ours[: len(alone)]).max())
    if not apart <= PARITY_LIMIT:
        raise ModelError(
            "the scores of a picture must not depend on the others in its batch; "
            f"they differ by {apart:.1e}: the network has a layer that is called in training mode, take that out"
        )
    screen.say(f"parity with Keras: {text}")
    if len(keras_says) > 1 and float(np.ptp(keras_says, axis=0).max()) <= _SAME:
        screen.say("note: the network says the same of every picture, whatever it shows: it has learned nothing")
    return keras_says


def _examine(workshop: Workshop, material: Material, wish: Wish, keep: Path | None) -> None:
    """Measure each layer, and show and keep that where it was asked for."""
    screen.say("calibrating and quantising")
    workshop.examine(_picture(material), times=wish.layers or wish.target == "host")
    if wish.layers:
        screen.say(layers.table(workshop.layers))
        if keep is not None:
            write_text(keep / "layers.csv", layers.as_csv(workshop.layers))
            screen.say(f"layers: {keep / 'layers.csv'}")


def _picture(material: Material) -> Images:
    """What times are measured on, uint8 ``(1, H, W, C)``."""
    return np.asarray(material.parity.images[material.parity.rows[:1]])


def _choose(workshop: Workshop, exact: Candidate, material: Material, keras_says: Floats, wish: Wish) -> Shipped:
    """Order the candidates on validation, try them on test, and show all of them."""
    others = _others(workshop, exact, material, wish)
    spec = material.identity.input
    exact, *others = timed([exact, *others], _picture(material))
    truth = material.validation.class_index
    standings = {one.name: one.standing(exact, truth) for one in (exact, *others)}
    wanted = [standings[one.name] for one in others if wish.quantize in ("auto", one.precision)]
    asked = wish.quantize != "auto"
    ladder = gate.order(standings[exact.name], wanted, wish.target, wish.max_drop, asked=asked)
    by_name = {one.name: one for one in (exact, *others)}
    verdicts: dict[str, str] = {}
    before = exact.scores(material.held_out)
    trial = _Trial(material, before, keras_says, wish, len(ladder), verdicts)
    chosen = next(filter(None, (trial.shipped(by_name[one.name]) for one in ladder)), None)
    shipped = chosen or Shipped(exact, before, before, _self_test(exact, spec), None)
    for one in (standings[other.name] for other in others):
        reason = gate.why_not(one, standings[exact.name], wish.target, wish.max_drop, asked=asked)
        unasked = "" if wish.quantize in ("auto", by_name[one.name].precision) else "not asked for"
        verdicts.setdefault(one.name, unasked or reason or f"behind {shipped.candidate.name}")
    screen.say(shown.table([exact, *others], truth, shipped.candidate, verdicts))
    if shipped.candidate.precision == "int8" and (floats := shipped.candidate.float_operators()):
        screen.say(f"note: {shipped.candidate.name} computes in float32: {islands.told(floats)}")
    if chosen is None and ladder and wish.prove:
        screen.say(shown.short_of_pictures(material.split, len(material.held_out), wish.max_drop, len(ladder)))
    if chosen is None and wish.quantize in ("int8", "float16"):
        raise AccuracyError(
            f"--quantize {wish.quantize} must pass within --max-drop {wish.max_drop:g} points; no such file does, for "
            "the reasons in the table: nothing was written; export with --quantize auto, or raise --max-drop"
        )
    return shipped


def _others(workshop: Workshop, exact: Candidate, material: Material, wish: Wish) -> list[Candidate]:
    """The candidates beside float32; without pictures to calibrate by, or where it was asked for, float16 alone."""
    if wish.quantize == "none":
        return []
    if wish.quantize == "float16":
        return [workshop.half(exact)]
    if len(material.train):
        return workshop.others(exact, here=wish.target == "host")
    screen.say("note: int8 is not tried, and no accuracy is known, without labelled pictures: --data names them")
    return [workshop.half(exact)]


@dataclass(frozen=True, slots=True)
class _Trial:
    """What a candidate must pass on pictures that nothing was chosen on.

    Attributes:
        material: The run.
        before: What float32 says of the held-out pictures.
        keras_says: What Keras says of `material.parity`.
        wish: What was asked for.
        rungs: How many candidates may be tried.
        verdicts: What became of each, by name.
    """

    material: Material
    before: Floats
    keras_says: Floats
    wish: Wish
    rungs: int
    verdicts: dict[str, str]

    def shipped(self, candidate: Candidate) -> Shipped | None:
        """The candidate if it passes; None, and why, where it does not."""
        parity = candidate.scores(self.material.parity)
        wrong = gate.disagreement(parity, self.keras_says)
        if wrong:
            self.verdicts[candidate.name] = wrong
            return None
        if not len(self.material.held_out):
            same = screen.percent(gate.agreement(self.keras_says, parity))
            self.verdicts[candidate.name] = f"{same} of the generated pictures labelled as Keras does"
            return Shipped(
                candidate, self.before, self.before, _self_test(candidate, self.material.identity.input), None
            )
        scores = candidate.scores(self.material.held_out)
        sure = gate.confidence_of_each(self.rungs) if self.wish.prove else CONFIDENCE
        loss = Loss.of(self.before, scores, self.material.held_out.class_index, sure)
        passed = gate.passes(loss, self.wish.max_drop, prove=self.wish.prove)
        more = "" if passed else f": more than --max-drop {self.wish.max_drop:g}"
        self.verdicts[candidate.name] = loss.told(self.material.split) + more
        if not passed:
            return None
        return Shipped(candidate, scores, self.before, _self_test(candidate, self.material.identity.input), loss)


def _self_test(candidate: Candidate, spec: InputSpec) -> SelfTest:
    with Classifier(candidate.path, device="cpu") as classifier:
        return probes.self_test(classifier.scores, spec)


def _write(output: Path, shipped: Shipped, material: Material, proof: AnySize | None) -> None:
    """Write the chosen graph with its final card under a temporary name, open it once more, then rename it."""
    candidate = shipped.candidate
    more = claims.of(shipped, material) | ({} if proof is None else {"any_size": proof.to_json()})
    try:
        with replacing(output) as temporary:
            card = container.write(temporary, candidate.graph, material.identity, candidate.precision, more)
            with Classifier(temporary, device="cpu") as classifier:  # with its self-test
                assert classifier.card == card, "the card must be read as it was written"
    except OSError as error:
        why = error.strerror or str(error)
        raise SinkError(f"the model must be written to {output}: {why}; free some space or name another") from error


def _finish(output: Path, shipped: Shipped, material: Material, wish: Wish, examined: Sequence[Layer]) -> None:
    size = output.stat().st_size
    record: dict[str, object] = {
        "type": "export",
        "model": str(output),
        "precision": shipped.candidate.precision,
        "scheme": shipped.candidate.name,
        "bytes": size,
    }
    measured = "no accuracy measured"
    if len(material.held_out):
        result = claims.result(shipped, material)
        record |= {
            "split": material.split,
            "float_top1": claims.float_result(shipped, material).top1,
            "agreement": gate.agreement(shipped.float_scores, shipped.scores),
            "loss": claims.loss_values(shipped.loss),
            **result.to_record(),
        }
        measured = f"{material.split} {screen.accuracy(result)}"
    record.pop("confusion", None)
    if wish.layers:
        record["layers"] = [layer.to_record() for layer in examined]
    screen.emit(record, f"{output}  {shipped.candidate.name}, {size / 1000:,.0f} KB, {measured}")
    to = " --to 'images:drawn?explain=1'" if wish.explain else ""
    screen.say(f"next:  edgecnn predict {screen.word(output)} photo.jpg{to}")


def model_name(name: str) -> str:
    """A name as a card may carry it; a UsageError where it cannot."""
    name = unicodedata.normalize("NFC", name)
    if not name.isprintable() or not 0 < len(name) <= 200:
        raise UsageError(f"--name must be printable text of at most 200 characters; received {name[:50]!r}")
    return name
