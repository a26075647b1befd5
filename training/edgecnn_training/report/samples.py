"""Training pictures as they are, and as the recipe changes them before the network sees them."""

from __future__ import annotations

import numpy as np

from edgecnn_training.batches import mix
from edgecnn_training.pictures import Images, Indices, Pictures
from edgecnn_training.report import tiles
from edgecnn_training.report.markup import Html, element, prose, section, text
from edgecnn_training.report.subject import Subject, evenly
from edgecnn_training.run_data import pictures

_EACH = 4


def samples(subject: Subject) -> Html:
    """The section."""
    train = pictures(subject.data, subject.codes, "train")
    chosen = {label: _some(train, label) for label in subject.shown_classes}
    rows = np.concatenate(list(chosen.values()))
    images = train.take(rows)
    changed = _changed(subject, images)
    augmented = not np.array_equal(images, changed)
    shown, start = [], 0
    for label, own in chosen.items():
        name, part = subject.labels[label], slice(start, start + len(own))
        start += len(own)
        groups = [("as it is", images[part])] + ([("augmented", changed[part])] if augmented else [])
        strips = (
            element("div", *(tiles.picture(image, f"{name}, {how}") for image in some), class_="strip")
            for how, some in groups
        )
        shown.append(element("div", element("b", text(name)), *strips, class_="sample"))
    return section(
        "samples", "Training pictures", prose(_told(subject, augmented)), element("div", *shown, class_="samples")
    )


def _changed(subject: Subject, images: Images) -> Images:
    """The pictures after what the recipe does to each of them in the training's batches."""
    recipe, rng = subject.run.info.recipe, np.random.default_rng(subject.run.info.recipe.seed)
    changed = recipe.augmentation(images, rng, blank=subject.run.info.normalization.mean)
    if not recipe.mixup:
        return changed
    mixed, _ = mix(changed.astype(np.float32), np.zeros((len(images), 1), np.float32), recipe.mixup, rng)
    return np.asarray(np.rint(mixed), np.uint8)


def _told(subject: Subject, augmented: bool) -> str:
    count, shown, recipe = len(subject.labels), len(subject.shown_classes), subject.run.info.recipe
    which = f" of {shown} of {count:,} classes" if shown < count else ""
    some = f"Some of the training pictures{which}, in the size that the network sees."
    if not augmented:
        return f"{some} The recipe leaves them as they are (no augmentation)."
    mixed = " Each is mixed with another one, and its label in the same shares (mixup)." if recipe.mixup else ""
    return (
        f"{some} First as they are, then the same ones as an epoch of the training may show them: changed at random, "
        "otherwise in every epoch, so that the network does not learn them by heart. If a label is no longer right "
        f"for a changed picture, the recipe goes too far.{mixed}"
    )


def _some(train: Pictures, label: int) -> Indices:
    own = np.flatnonzero(train.class_index == label)
    return own[evenly(len(own), _EACH)].astype(np.int64)
