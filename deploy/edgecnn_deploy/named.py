"""Sources and sinks as a user names them: what has no meaning is told before anything is sent, and nothing is opened.

Which options a source or a sink has of its own, only it knows: that the service tells when it starts.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

from edgecnn import plugins, thinning
from edgecnn.errors import UsageError, redacted
from edgecnn.feeds import Policy
from edgecnn.opening import _plugin_of
from edgecnn.view import View

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+-]*):")


def check(sources: Sequence[str], sinks: Sequence[str]) -> None:
    """Refuse what is of no kind that there is, or has an option whose value one cannot have.

    Args:
        sources: As `edgecnn predict` takes them.
        sinks: As its ``--to`` takes them.

    Raises:
        UsageError: One has no meaning.
    """
    for uri in sources:
        _told_of("source", uri, _check_source)
    for uri in sinks:
        _told_of("sink", uri, _check_sink)


def _told_of(kind: str, uri: str, look: Callable[[str], None]) -> None:
    try:
        look(uri)
    except UsageError as error:
        raise UsageError(f"the {kind} {redacted(uri)!r}: {redacted(str(error))}") from error


def _check_source(uri: str) -> None:
    options = _plugin_of(uri)[2]
    schemes = _schemes("edgecnn.sources")
    found = _SCHEME.match(uri)
    if found and found[1].lower() not in schemes and not os.path.lexists(uri):
        raise _unknown("source", found[1], schemes)
    View.of(options)
    Policy.of(options)


def _check_sink(uri: str) -> None:
    schemes = _schemes("edgecnn.sinks")
    scheme, colon, _ = uri.partition(":")
    if not colon or scheme not in schemes:
        raise _unknown("sink", scheme, schemes)
    thinning.thinner(plugins.split_query(uri)[1])


def _unknown(kind: str, scheme: str, schemes: Mapping[str, ModuleType]) -> UsageError:
    words = sorted(word for word in schemes if word != "-")
    close = difflib.get_close_matches(scheme.lower(), words, n=1)
    remedy = f"did you mean {close[0]}:?" if close else "correct it"
    path = " or be a path" if kind == "source" else ""
    rule = f"a {kind} must begin with one of {', '.join(words)} and a colon{path}"
    return UsageError(f"{rule}; received {redacted(scheme)!r}: {remedy}")


def _schemes(package: str) -> Mapping[str, ModuleType]:
    modules = [plugins.load(package, name) for name in plugins.names(package)]
    return {scheme: module for module in modules for scheme in module.SCHEMES}
