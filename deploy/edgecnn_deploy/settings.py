"""The configuration of a service, ``/etc/edgecnn/NAME.toml``: how one is made, and what is refused.

`install.sh` runs this with the system's Python, out of the wheel and before anything is installed: it imports the
standard library only, but for `check`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from edgecnn.config_file import LONGEST_LINE, read_config_file
from edgecnn.errors import EdgecnnError, SourceError, UsageError, redacted

_HEAD = "# What this service does: the keys are the flags of `edgecnn predict`. After a change: sudo systemctl restart "
_TO = """\
# Into the journal, when the label changes, and at most once a second
to = ["jsonl:-?only=change&every=1"]
"""
_NO_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # a lone surrogate is a byte that is no UTF-8
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NEEDS = {"pi": r"pi([:?]|$)", "video": r"usb:|rtsps?:|/dev/video"}


def of_sources(sources: Sequence[str], model: str, name: str) -> str:
    """The text of a configuration.

    Args:
        sources: What the service looks at.
        model: Path of the model on the device.
        name: Of the service.
    """
    quoted = [_quoted(one) for one in sources]
    listed = ", ".join(quoted)
    if len(listed) > LONGEST_LINE // 4:  # a line must not be too long for `read`
        listed = "".join(f"\n    {one}," for one in quoted) + "\n"
    return f"{_HEAD}edgecnn@{name}\nmodel = {_quoted(model)}\nsource = [{listed}]\n{_TO}"


def check_source(source: str) -> None:
    """Refuse a source that is no line of text, which could be none in a file of sources either.

    Raises:
        UsageError: It is empty, has a line end or another control character, or bytes that are no UTF-8.
    """
    if not source.strip() or _NO_LINE.search(source):
        shown = redacted(re.sub(r"(?s)://.*@", "://***@", source))
        raise UsageError(f"--source must be one line of text; received {shown!r}: test:")
    if len(_quoted(source)) > LONGEST_LINE // 2:
        raise UsageError(f"--source must be at most 2,000 characters; received {len(source):,}: shorten it")


def completed(text: str, model: str, where: str) -> str:
    """A configuration that names the model; a line is added where it does not.

    Args:
        text: TOML.
        model: Path of the model on the device.
        where: The file it is from, for messages.

    Raises:
        UsageError: It is no TOML, names another model, or no source.
    """
    settings = _settings(text, where)
    if not _sources(settings):
        rule = 'must name what it looks at, in a line such as: source = ["pi"]'
        raise UsageError(f"the configuration {rule}; {where} names nothing")
    if settings.setdefault("model", model) != model:
        raise UsageError(f"the model of {where} must be {model}; it names another: leave that line out")
    return text if "model" in _settings(text, where) else f"model = {_quoted(model)}\n{text}"


def needs(text: str) -> list[str]:
    """What the sources of a configuration need beside edgecnn: ``"pi"`` for rpicam-vid, ``"video"`` for that extra."""
    sources = _sources(_settings(text, "the configuration"))
    return [what for what, pattern in _NEEDS.items() if any(re.match(pattern, one) for one in sources)]


def check(path: Path) -> None:
    """Refuse a configuration that `edgecnn predict` would refuse; this takes edgecnn as it is installed.

    Raises:
        UsageError: It has an unknown key, or a value that the flag of this name cannot have; a source or a sink in it
            is of no kind that there is.
    """
    from edgecnn.cli.config import check_config  # here: neither is there before edgecnn is installed
    from edgecnn.cli.predict import predict
    from edgecnn_deploy import named

    check_config(path, predict)
    settings = _settings(read_config_file(str(path)), str(path))
    named.check(_listed(settings, "source"), _listed(settings, "to"))


def same(text: str, other: str) -> bool:
    """Whether two configurations say the same, whatever their comments."""
    try:
        return tomllib.loads(text) == tomllib.loads(other)
    except (ValueError, RecursionError):
        return False


def _settings(text: str, where: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f'the configuration must be TOML, lines such as: source = ["pi"]; {where}: {error}') from error
    except RecursionError as error:
        raise _nested(where) from error


def _nested(where: str) -> UsageError:
    return UsageError(f"the configuration must not be nested so deeply; received {where}: flatten it")


def _sources(settings: dict[str, object]) -> list[str]:
    listed = _listed(settings, "source")
    return listed if all(listed) else []


def _listed(settings: dict[str, object], key: str) -> list[str]:
    """The texts of a key that takes one or a list of them."""
    value = settings.get(key)
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _quoted(text: str) -> str:
    """A basic string of TOML: JSON's, but for DEL, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _make(kind: str, given: str, model: str, there: str, out: str) -> None:
    """Write the configuration for the service of a name, and print what it needs.

    Args:
        kind: ``"sources"`` where `given` has a source in each line, else it is a configuration.
        given: A file.
        model: Path of the model on the device.
        there: The configuration that may be there already; its text is kept where it says the same.
        out: The file to write.
    """
    if kind == "sources":
        sources = Path(given).read_bytes().decode("utf-8", "surrogateescape").split("\n")[:-1]
        for one in sources:
            check_source(one)
        text = of_sources(sources, model, Path(there).stem)
    else:
        text = read_config_file(given)
        _settings(text, given)  # here: where it is none, its own name tells more than the option's
    text = completed(text, model, given if given == there else "--config")
    before = ""
    with contextlib.suppress(EdgecnnError):  # one that is broken gives way
        before = read_config_file(there)
    Path(out).write_text(before if same(before, text) else text, encoding="utf-8")
    print(*needs(text))  # noqa: T201


def make() -> None:
    """What install.sh calls; see `_make`."""
    try:
        _make(*sys.argv[1:])
    except (EdgecnnError, OSError) as error:
        told: Exception = error
        if isinstance(error, OSError) and error.errno in _FULL:
            place = Path(sys.argv[-1]).parent.parent
            told = SourceError(f"there must be room on the disk of {place}; it is full: free some space")
        print(f"error: {redacted(str(told))}", file=sys.stderr)  # noqa: T201
        sys.exit(told.exit_code if isinstance(told, EdgecnnError) else SourceError.exit_code)


def checked() -> None:
    """What install.sh calls once edgecnn is installed; see `check`."""
    try:
        check(Path(sys.argv[1]))
    except EdgecnnError as error:
        print(redacted(str(error)))  # noqa: T201
        sys.exit(error.exit_code)


def others() -> None:
    """What install.sh calls: print what the configurations of a folder need, but for that of a name.

    One that cannot be read or is no TOML holds up nothing: its own service says so when it starts.
    """
    folder, name = sys.argv[1:]
    found: set[str] = set()
    for path in Path(folder).glob("*.toml"):
        if path.stem != name:
            with contextlib.suppress(EdgecnnError):
                found.update(needs(read_config_file(str(path))))
    print(*sorted(found))  # noqa: T201
