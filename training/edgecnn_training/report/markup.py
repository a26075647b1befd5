"""HTML that is well-formed and escaped by construction: text goes in as text, and only elements come out as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import NewType

from edgecnn.errors import printable

Html = NewType("Html", str)
"""A piece of a page. Made by the functions of this module only, so that no name of a file or class is taken for it."""

_VOID = frozenset({"img", "meta", "wbr"})


def text(value: object) -> Html:
    """Text as it is: what HTML would take for its own is escaped, and so is what cannot be shown."""
    return Html(html.escape(printable(str(value))))


def path(name: str) -> Html:
    """The name of a file, which may break behind its slashes."""
    return join((text(part) for part in name.split("/")), Html(f"/{element('wbr')}"))


def element(tag: str, *inside: Html, **attributes: str) -> Html:
    """An element.

    Args:
        tag: Its name.
        inside: What it holds.
        attributes: Named as in HTML, with ``_`` for ``-`` and one behind a word of Python: ``class_``, ``aria_label``.
    """
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(printable(value))}"' for name, value in attributes.items()
    )
    if tag in _VOID:
        assert not inside, f"<{tag}> holds nothing"
        return Html(f"<{tag}{named}>")
    return Html(f"<{tag}{named}>{''.join(inside)}</{tag}>")


def join(parts: Iterable[Html], between: str = "\n") -> Html:
    """Several pieces, one after the other."""
    return Html(between.join(parts))


def section(name: str, title: str, *inside: Html) -> Html:
    """A section with a heading that the table of contents can lead to."""
    return element("section", element("h2", text(title)), *inside, id=name)


def prose(line: str) -> Html:
    """A paragraph that says what is to be seen."""
    return element("p", text(line), class_="prose")


def note(line: str) -> Html:
    """A paragraph that is said by the way."""
    return element("p", text(line), class_="note")


def heading(line: str) -> Html:
    """A heading within a section."""
    return element("h3", text(line))


def table(head: Sequence[str], rows: Iterable[Sequence[Html]], *, left: int = 1) -> Html:
    """A table that scrolls sideways where it is wider than the screen.

    Args:
        head: Names of the columns.
        rows: Cells of each row.
        left: How many columns are words, set to the left; the others are numbers, set to the right.
    """

    def row(tag: str, cells: Sequence[Html]) -> Html:
        return element(
            "tr", *(element(tag, cell, class_="word" if i < left else "number") for i, cell in enumerate(cells))
        )

    body = element("tbody", *(row("td", cells) for cells in rows))
    whole = element("table", element("thead", row("th", [text(name) for name in head])), body)
    return element("div", whole, class_="wide")


def facts(pairs: Iterable[tuple[str, Html]]) -> Html:
    """A list of names and what they are."""
    return element("dl", *(element("div", element("dt", text(name)), element("dd", what)) for name, what in pairs))


def commands(lines: Iterable[str]) -> Html:
    """Commands to type, a line each."""
    return element("pre", element("code", join(map(text, lines))))
