"""The mistakes that the network was surest of."""

from __future__ import annotations

from edgecnn_training import predictions
from edgecnn_training.report import tiles
from edgecnn_training.report.markup import Html, element, path, prose, section, text
from edgecnn_training.report.subject import Subject

_SHOWN = 24


def mistakes(subject: Subject) -> Html:
    """The section."""
    found = subject.mistakes
    if not len(found):
        return section(
            "mistakes", "Mistakes", prose(f"None of {len(subject.truth):,} pictures was given a wrong label.")
        )
    chosen = found[:_SHOWN]
    listed = subject.path / predictions.NAME
    all_of_them = "" if not listed.is_file() else f" All of them, and of validation too: {listed.name} in the run."
    shown = []
    for i, image in zip(chosen, subject.pictures.take(chosen), strict=True):
        truth, given = subject.labels[subject.truth[i]], subject.labels[subject.given[i]]
        shown.append(
            tiles.tile(
                [tiles.picture(image, f"a picture of {truth} that was given {given}")],
                tiles.named("is", truth),
                tiles.named("given", given),
                text(f"score {subject.sure[i]:.2f}"),
                element("small", path(subject.names[i])),
            )
        )
    which = f"The {len(chosen)} of {len(found):,} mistakes" if len(found) > len(chosen) else "The mistakes"
    return section(
        "mistakes",
        "Mistakes",
        prose(
            f"{which} that the network was surest of, the surest first. Look for wrong labels: often it is the folder "
            "that errs, and moving a picture helps more than another training. The others show what there are too few "
            f"pictures of.{all_of_them}"
        ),
        tiles.gallery(shown),
    )
