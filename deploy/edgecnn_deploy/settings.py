"""The configuration of a service, ``/etc/edgecnn/NAME.toml``: how one is made, and what is refused.

`install.sh` runs this with the system's Python, out of the wheel and before anything is installed: it imports the
standard library only, but for `check`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from edgecnn.errors import EdgecnnError, SourceError, UsageError, redacted

_HEAD = "# What this service does: the keys are the flags of `edgecnn predict`. After a change: sudo systemctl restart "
_TO = """\
# Into the journal, when the label changes, and at most once a second
to = ["jsonl:-?only=change&every=1"]
"""
_MOST_BYTES, _LONGEST = 1 << 16, 4096  # tomllib takes quadratic time for long keys: 100 KB of them half a minute
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
    if len(listed) > _LONGEST // 4:  # a line must not be too long for `read`
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
    if len(_quoted(source)) > _LONGEST // 2:
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

    if os.path.isfile(path):
        read(path)  # its limits come first: what is beyond them takes minutes to be looked at
    try:
        check_config(path, predict)
    except RecursionError as error:
        raise _nested(str(path)) from error
    settings = _settings(read(path), str(path))
    named.check(_listed(settings, "source"), _listed(settings, "to"))


def same(text: str, other: str) -> bool:
    """Whether two configurations say the same, whatever their comments."""
    try:
        return tomllib.loads(text) == tomllib.loads(other)
    except (ValueError, RecursionError):
        return False


def read(path: Path) -> str:
    """The text of a configuration.

    Raises:
        SourceError: It cannot be read, is none, or larger than one can be.
    """
    rule = "the configuration must be a text that can be read"
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
        raise SourceError(f"{rule}; {path} is no file: move it away")
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        text = "" if len(data) > _MOST_BYTES else data.decode("utf-8-sig")  # editors under Windows mark a file so
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SourceError(f"{rule}; {path}: {why}: check it") from error
    if len(data) > _MOST_BYTES or any(len(line) > _LONGEST for line in text.split("\n")):
        rule = "--config must name a TOML file of at most 64 KB with lines of at most 4,096 characters"
        raise SourceError(f"{rule}; received {str(path)!r}: shorten it")
    return text


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
        text = read(Path(given))
        _settings(text, given)  # here: where it is none, its own name tells more than the option's
    text = completed(text, model, given if given == there else "--config")
    before = ""
    with contextlib.suppress(SourceError):  # one that is broken gives way
        before = read(Path(there))
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
                found.update(needs(read(path)))
    print(*sorted(found))  # noqa: T201
