"""A recipe: everything that decides how a network is trained, in one flat TOML file.

A recipe names only what differs from the one it ``extends``; an unknown key is an error. What a run used in the end,
options of the command line included, is written beside its checkpoints as ``recipe.toml``.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgecnn import plugins
from edgecnn.errors import UsageError
from edgecnn_training.augment import Augmentation

PACKAGE = "edgecnn_training.recipes"
OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("one-cycle", "cosine", "exponential", "constant")
Value = str | int | float | bool

_RULES: dict[str, tuple[Callable[[float], bool], str]] = {
    "epochs": (lambda v: 1 <= v <= 100_000, "1 or more"),
    "min_steps": (lambda v: 0 <= v <= 10_000_000, "0 or more"),
    "batch_size": (lambda v: 1 <= v <= 65_536, "1 to 65536"),
    "learning_rate": (lambda v: 1e-9 <= v <= 100, "1e-9 to 100"),
    "weight_decay": (lambda v: 0 <= v < 1, "0 to below 1"),
    "warmup": (lambda v: 0 <= v < 1, "0 to below 1, a share of the run"),
    "label_smoothing": (lambda v: 0 <= v < 1, "0 to below 1"),
    "shift": (lambda v: 0 <= v <= 0.5, "0 to 0.5, a share of the side"),
    "rotate": (lambda v: 0 <= v <= 45, "0 to 45 degrees"),
    "zoom": (lambda v: 0 <= v <= 0.5, "0 to 0.5, a share of the size"),
    "brightness": (lambda v: 0 <= v < 1, "0 to below 1, a share"),
    "contrast": (lambda v: 0 <= v < 1, "0 to below 1, a share"),
    "cutout": (lambda v: 0 <= v <= 1, "0 to 1, a share of the side"),
    "mixup": (lambda v: v == 0 or 0.001 <= v <= 10, "0, or 0.001 to 10"),
    "balance": (lambda v: 0 <= v <= 1, "0 to 1"),
    "batch_norm_momentum": (lambda v: 0 < v < 1, "above 0 and below 1"),
    "ema": (lambda v: 0 <= v < 1, "0 to below 1"),
    "patience": (lambda v: 0 <= v <= 100_000, "0 or more epochs"),
    "freeze": (lambda v: 0 <= v <= 1, "0 to 1, a share of the epochs"),
    "fine_tune_rate": (lambda v: 1e-9 <= v <= 100, "1e-9 to 100"),
    "distill_weight": (lambda v: 0 <= v <= 1, "0 to 1"),
    "distill_temperature": (lambda v: 0.01 <= v <= 100, "0.01 to 100"),
    "seed": (lambda v: 0 <= v < 2**32, "0 to 4294967295"),
    "split_seed": (lambda v: 0 <= v < 2**32, "0 to 4294967295"),
}
_CHOICES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
_NAMED = ("arch", "weights")  # texts without a meaning where they are empty
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained. Every field is a key of the TOML file.

    Attributes:
        description: One line for ``edgecnn recipes``.
        arch: Name of an architecture, path of a file with one, or ``keras:NAME`` for one of ``keras.applications``.
        options: What the architecture's ``build`` takes beside the shape, for instance ``dropout``.
        epochs: Passes over the training split.
        min_steps: Epochs are added for small data sets until the run has this many steps.
        batch_size: Pictures per step.
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"`` (Nesterov, momentum 0.9).
        learning_rate: Highest learning rate.
        schedule: Its course, see `edgecnn_training.schedules`.
        warmup: Share of the run in which ``"one-cycle"`` rises.
        weight_decay: Decoupled weight decay of kernels; never of biases and batch normalisation.
        label_smoothing: Share of the label spread evenly over all classes.
        shift: Largest random move, as a share of the side.
        rotate: Largest random turn, in degrees.
        zoom: Largest random change of size, as a share.
        flip: Whether each picture is mirrored in every other epoch; wrong for letters, digits and signs.
        invert: Whether half of the pictures are shown as their negatives: for writing, dark on light or light on dark.
        brightness: Largest random change of brightness, as a share.
        contrast: Largest random change of contrast, as a share.
        cutout: Side of a square that is blanked at a random place, as a share of the picture's side.
        mixup: Pictures of a batch are mixed with one another by shares drawn from Beta(mixup, mixup); 0 does not.
        balance: 0 shows each picture once an epoch; 1 shows each class equally often, for classes of uneven size.
        batch_norm_momentum: Share of the old statistics that batch normalisation keeps at each step; Keras's own
            default of 0.99 lags behind in runs of a few thousand steps.
        ema: Share of the old average that an exponential moving average of the weights keeps at each step, such as
            0.999; the averaged network is validated, kept and exported. 0 averages nothing.
        patience: Training stops when so many epochs in a row were no better on validation; 0 trains to the end.
        weights: What a network ``keras:NAME`` begins with: ``"imagenet"``, the path of a file, or ``"none"``.
        freeze: Share of the epochs, at the beginning, in which only the head of a network with such weights is trained.
        fine_tune_rate: Highest learning rate after that, when all its layers are trained.
        teacher: Directory of a finished run on the same data whose network teaches this one; empty for none.
        distill_weight: Share of the loss that compares with the teacher; the rest compares with the labels.
        distill_temperature: Both networks' logits are divided by it before they are compared.
        seed: Start of the random numbers of the training: first weights, order, augmentation, dropout.
        split_seed: Start of those that split the data; the same for runs that are to be compared.
    """

    description: str = ""
    arch: str = "small"
    options: Mapping[str, Value] = field(default_factory=dict)
    epochs: int = 30
    min_steps: int = 1500
    batch_size: int = 32
    optimizer: str = "adamw"
    learning_rate: float = 5e-3
    schedule: str = "one-cycle"
    warmup: float = 0.15
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    shift: float = 0.07
    rotate: float = 10.0
    zoom: float = 0.0
    flip: bool = False
    invert: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    cutout: float = 0.0
    mixup: float = 0.0
    balance: float = 0.0
    batch_norm_momentum: float = 0.9
    ema: float = 0.0
    patience: int = 0
    weights: str = "none"
    freeze: float = 0.2
    fine_tune_rate: float = 1e-4
    teacher: str = ""
    distill_weight: float = 0.7
    distill_temperature: float = 4.0
    seed: int = 0
    split_seed: int = 0

    @property
    def augmentation(self) -> Augmentation:
        """What the recipe does to each training picture."""
        return Augmentation(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Augmentation)})

    def to_values(self) -> dict[str, object]:
        """Every key with its value, as JSON can hold them."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {"options": dict(self.options)}

    def to_toml(self) -> str:
        """The whole recipe as TOML that `read` accepts."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        options = values.pop("options")
        lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
        if options:
            lines += ["", "[options]"] + [f"{_toml(key)} = {_toml(value)}" for key, value in options.items()]
        return "\n".join(lines) + "\n"


def names() -> list[str]:
    """Names of the recipes that come with edgecnn."""
    return plugins.names(PACKAGE, ".toml")


def read(name: str, changes: Mapping[str, object] | None = None) -> Recipe:
    """Read a recipe with all that it extends.

    Args:
        name: Name of one of ours, or the path of a TOML file.
        changes: Keys that win over the file, from the command line; None values are left out.

    Raises:
        UsageError: No such recipe, not TOML, an unknown key, or a value out of range; the message names it.
    """
    own = {key: value for key, value in (changes or {}).items() if value is not None}
    _cleaned(own, "on the command line ")
    return checked(_resolved(name, {}) | _epochs_decide(own), name)


def checked(values: Mapping[str, object], name: str) -> Recipe:
    """A recipe from its keys, each one checked.

    Raises:
        UsageError: An unknown key or a value out of range.
    """
    return Recipe(**_cleaned(values, f"recipe {name}: "))  # type: ignore[arg-type]  # checked, field by field


def _cleaned(values: Mapping[str, object], where: str) -> dict[str, object]:
    """The values in their fields' types; `where` they stand begins the message about what is wrong with one."""
    fields = [f.name for f in dataclasses.fields(Recipe)]
    defaults = Recipe()
    clean: dict[str, object] = {}
    for key, value in values.items():
        if key not in fields:
            raise UsageError(_unknown_key(key, where, fields))
        clean[key] = _checked_value(f"{where}{key}", value, getattr(defaults, key))
        if key in _RULES and not _RULES[key][0](clean[key]):  # type: ignore[arg-type]  # a number, by its default
            raise UsageError(f"{where}{key} must be {_RULES[key][1]}; received {value!r}")
        if key in _NAMED and not value:
            raise UsageError(f"{where}{key} must be a name or a path; received {value!r}: leave it out")
        if key in _CHOICES and value not in _CHOICES[key]:
            raise UsageError(f"{where}{key} must be one of {', '.join(_CHOICES[key])}; received {value!r}")
    return clean


def parse_assignment(text: str) -> tuple[str, object]:
    """``key=value`` of the command line; the value as TOML, or as text where it is no TOML.

    Raises:
        UsageError: There is no ``=``.
    """
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise UsageError(f"--set takes key=value, for instance --set rotate=5; received {text!r}")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--set {key.strip()}: the value must be a number, a text, true or false ({error})") from error


def _resolved(name: str, above: Mapping[Path, str]) -> dict[str, object]:
    """A recipe's keys with those of all that it extends.

    Args:
        name: Name or path.
        above: The files that extend it, directly or over others, and how each was named.
    """
    path = _find(name, list(above.values()))
    chain = " → ".join([*above.values(), name])
    if path.resolve() in above:  # by whichever detour
        raise UsageError(f"a recipe must not extend itself; received {chain}: take one extends out")
    if len(above) >= _DEEPEST:
        raise UsageError(f"a recipe must extend at most {_DEEPEST} others; received {chain[:200]} …: put some into one")
    values = _parsed(path)
    parent = values.pop("extends", None)
    if parent is None:
        return values
    if not isinstance(parent, str) or not parent:
        raise UsageError(f"recipe {name}: extends must be the name of a recipe; received {parent!r}")
    if parent.endswith(".toml"):
        parent = str(path.parent / parent)
    return _resolved(parent, {**above, path.resolve(): name}) | _epochs_decide(values)


def _parsed(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"a recipe must be readable; {path}: {error.strerror or error}: check the path") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"a recipe must be UTF-8 text; {path} is not ({error.reason}): save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"a recipe must be a readable TOML file; {path}: {error}: mend it") from error


def _epochs_decide(values: dict[str, object]) -> dict[str, object]:
    """Who names the epochs means them: the least number of steps of a recipe further up no longer raises them."""
    return {"min_steps": 0, **values} if "epochs" in values else values


def _find(name: str, above: Sequence[str]) -> Path:
    if name.endswith(".toml") or "/" in name:
        if not Path(name).is_file():
            raise UsageError(f"a recipe given by path must be an existing TOML file; received {name!r}")
        return Path(name)
    if name not in names():
        error = plugins.unknown("a recipe", name, names())
        raise UsageError(f"{error} (in recipe {above[-1]})" if above else str(error))
    return plugins.folder(PACKAGE) / f"{name.replace('-', '_')}.toml"


def _checked_value(what: str, value: object, default: object) -> object:
    """`value` in the type of `default`; whole numbers pass for fractions, nothing else passes for another."""
    if isinstance(default, bool):
        fine = isinstance(value, bool)
    elif isinstance(default, int):
        fine = isinstance(value, int) and not isinstance(value, bool)
    elif isinstance(default, float):
        fine = isinstance(value, (int, float)) and not isinstance(value, bool)
        try:
            value = float(value) if fine else value  # type: ignore[arg-type]  # fine says that it is a number
        except OverflowError:
            fine = False
    elif isinstance(default, str):
        fine = isinstance(value, str)
    else:
        fine = isinstance(value, dict) and all(isinstance(v, (str, int, float, bool)) for v in value.values())
    if not fine:
        kind = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(
            type(default), "a table of numbers, texts or true and false"
        )
        raise UsageError(f"{what} must be {kind}; received {repr(value)[:100]}")
    return value


def _unknown_key(key: str, where: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]!r}? All keys: " if close else "a key must be one of "
    return f"{where}{key!r} is no key of a recipe; {hint}{', '.join(known)}, extends"


def _toml(value: Value) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # else a JSON scalar is a TOML scalar, but for the one control character that JSON leaves as it is
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
