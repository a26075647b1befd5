"""The top of a report: what was trained on what, how good it is, and what to type next."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from edgecnn_training import recipe as recipes
from edgecnn_training import screen
from edgecnn_training.report.markup import Html, commands, element, facts, heading, join, note, section, table, text
from edgecnn_training.report.subject import Subject

_NOT_A_CHOICE = frozenset({"description", "min_steps"})  # the first is no setting, the second has become epochs


def summary(subject: Subject) -> Html:
    """The name of the run, its accuracy in large figures, and its facts."""
    info, environment = subject.run.info, subject.read_json("environment.json")
    data = screen.short_path(info.data_location)
    run, model = screen.word(subject.path), screen.word(f"{subject.path.name}.onnx")
    return element(
        "header",
        element("p", text("edgecnn training report"), class_="kind"),
        element("h1", text(subject.path.name)),
        element("p", text(f"{info.recipe.arch} on {data}, {_day(environment)}"), class_="about"),
        _accuracy(subject),
        facts(_facts(subject, environment)),
        element("p", text("Next:"), class_="next"),
        commands([f"edgecnn export {run} -o {model}", f"edgecnn predict {model} photo.jpg"]),
    )


def how(subject: Subject) -> Html:
    """The section on how the run was made."""
    environment = subject.read_json("environment.json")
    versions = environment.get("versions")
    return section(
        "how",
        "How it was made",
        heading("Recipe"),
        _recipe(subject),
        heading("Machine"),
        facts(
            [
                ("command", element("code", text(_command(environment)))),
                ("processor", text(f"{environment.get('cpu', 'unknown')}, {environment.get('cores', '?')} cores")),
                ("peak memory", text(_megabytes(subject.read_json("result.json").get("peak_memory_bytes")))),
                ("system", text(environment.get("platform", "unknown"))),
                ("versions", text(_pairs(versions if isinstance(versions, dict) else {}))),
                ("git commit", element("code", text(str(environment.get("git_commit") or "none")[:12]))),
                ("hash of the data", element("code", text(subject.run.info.data_hash[:16]))),
            ]
        ),
    )


def _accuracy(subject: Subject) -> Html:
    found = subject.evaluation
    low, high = found.interval
    lines = [
        f"{found.correct:,} of {found.n:,} {subject.split} pictures right. With this many pictures the true accuracy "
        f"lies between {low * 100:.1f} and {high * 100:.1f} % (95 % interval)."
    ]
    if abs(found.macro - found.top1) >= 0.01:
        lines.append(f"If every class counts alike, however few pictures it has: {screen.percent(found.macro)}.")
    leaked = subject.read_json("result.json").get("leaked")
    if leaked:
        lines.append(
            f"It is flattered: {leaked} of these pictures are identical to ones that the network learned from."
        )
    if subject.split == "validation":
        lines.append(
            "The data has no test split: the best checkpoint was chosen on these very pictures, which flatters it."
        )
    return element(
        "div",
        element(
            "p", element("b", text(screen.percent(found.top1))), text(f" {subject.split} accuracy"), class_="figure"
        ),
        element("p", text(" ".join(lines))),
        class_="accuracy",
    )


def _facts(subject: Subject, environment: Mapping[str, object]) -> list[tuple[str, Html]]:
    info, metrics = subject.run.info, subject.run.read_metrics()
    result = subject.read_json("result.json")
    spec = info.input
    seconds = sum(line.get("seconds", 0.0) for line in metrics)
    validation = result.get("validation_top1")
    best = f"epoch {result.get('epoch')}"
    if isinstance(validation, float):
        best += f", validation {screen.percent(validation)}"
    return [
        ("parameters", text(f"{info.complexity.parameters:,}")),
        ("MACs for one picture", text(f"{info.complexity.macs / 1e6:,.1f} M")),
        ("input", text(f"{spec.width}×{spec.height} {'grey' if spec.channels == 1 else 'RGB'}, {spec.fit}")),
        ("pictures", text(f"{len(subject.data.records):,} in {len(subject.labels):,} classes")),
        ("training", text(f"{len(metrics)} epochs, {_duration(seconds)}")),
        ("checkpoint", text(best)),
    ]


def _recipe(subject: Subject) -> Html:
    own, usual = subject.run.info.recipe.to_values(), recipes.read("default").to_values()
    changed = [key for key in own if own[key] != usual[key] and key not in _NOT_A_CHOICE]
    if not changed:
        return note("As the recipe default has it.")
    rows = [[element("code", text(key)), *(text(_setting(of[key])) for of in (own, usual))] for key in changed]
    others = note(
        "Keys that differ from the recipe default; recipe.toml has all, and with the same size and split repeats it."
    )
    return join([table(("key", "here", "default"), rows), others])


def _megabytes(size_bytes: object) -> str:
    return f"{size_bytes / 1e6:,.0f} MB" if isinstance(size_bytes, int) else "unknown"


def _setting(value: object) -> str:
    if isinstance(value, Mapping):
        return _pairs(value) or "none"
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _command(environment: Mapping[str, object]) -> str:
    words = environment.get("command")
    if not isinstance(words, list) or not words:
        return "unknown"
    return " ".join(["edgecnn", *(screen.word(str(one)) for one in words[1:])])


def _day(environment: Mapping[str, object]) -> str:
    try:
        return f"{datetime.datetime.fromisoformat(str(environment.get('date'))):%d %B %Y}".lstrip("0")
    except ValueError:
        return "no date"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
