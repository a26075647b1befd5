"""What the README and the guides promise is there: commands, options, scripts and links."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote

import pytest

from edgecnn import protobuf
from edgecnn.prescan import MAX_MODEL_BYTES
from edgecnn.scan import contents, operators, sizes

CHECKOUT = Path(__file__).resolve().parents[1]
README = CHECKOUT / "README.md"
DOCUMENTS = [README, *sorted((CHECKOUT / "docs").rglob("*.md"))]
SHELL_BLOCK = re.compile(r"^```(?:sh|bash|shell|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)[^)]*\)|(?:src|href)=\"(?!\w+:)([^\"#]+)")
PLACE = re.compile(r"\]\((?!\w+:)([^)#\s]*)#([^)\s]+)\)")
MACHINE = re.compile(r"(?<![\w.:/-])/(?:work|root|home)/\S+")

Options: TypeAlias = dict[str, set[str]]

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))


def edgecnn_commands(text: str) -> list[list[str]]:
    """The words after ``edgecnn`` in a document's shell blocks: comments gone, cut at pipes and ``&&``.

    Where lines of a block begin with ``$ ``, the others are what the commands print.
    """
    found: list[list[str]] = []
    for block in SHELL_BLOCK.findall(text):
        lines = [line.strip() for line in block.replace("\\\n", " ").splitlines()]
        typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")] or lines
        for line in typed:
            found += _after_edgecnn(line) if "edgecnn" in line else []
    return found


def _after_edgecnn(line: str) -> list[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = []
    inside = False
    for word in lexer:
        if set(word) <= set("|&;()<>"):
            inside = False
        elif inside:
            found[-1].append(word)
        elif word == "edgecnn" or word.endswith("/bin/edgecnn"):
            inside = True
            found.append([])
    return found


def column(help_text: str, heading: str) -> list[str]:
    """The first column of a section of a help text: ``["--run PATH", …]``."""
    section = re.search(rf"^{heading}:\n(.*?)(?:\n\n|\Z)", help_text, re.MULTILINE | re.DOTALL)
    return re.findall(r"^  (\S.*?)(?:  |$)", section[1], re.MULTILINE) if section else []


@pytest.fixture(scope="module")
def commands() -> Options:
    """Every command of ``edgecnn --help`` with the options that its own help lists; ``""`` for edgecnn itself."""

    def help_of(*command: str) -> str:
        line = [sys.executable, "-m", "edgecnn", *command, "--help"]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout

    def options(text: str) -> set[str]:
        words = " ".join(column(text, "Options")).replace(",", " ").replace("/", " ").split()
        return {word for word in words if word.startswith("-")}

    top = help_of()
    return {"": options(top)} | {name: options(help_of(name)) for name in column(top, "Commands")}


def wrong_words(words: list[str], commands: Options) -> list[str]:
    """The command or the options of one command line that edgecnn does not know."""
    name = next((word for word in words if not word.startswith("-")), "")
    if name not in commands:
        return [name]
    options = [word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    return [option for option in options if option not in commands[name] | commands[""]]


def test_the_check_below_reads_shell_as_a_shell_does() -> None:
    text = (
        "```sh\ncd edgecnn && . x\nedgecnn train a \\\n  --run=r  # --no\n```\n"
        "```console\n$ edgecnn inspect m | jq -r .a\nedgecnn\n```\n"
    )
    assert edgecnn_commands(text) == [[], ["train", "a", "--run=r"], ["inspect", "m"]]


def test_the_check_below_finds_what_is_wrong(commands: Options) -> None:
    assert wrong_words(["train", "a", "--run=r", "--epochs", "-1"], commands) == []
    assert wrong_words(["--debug", "export", "r", "-o", "m.onnx"], commands) == []
    assert wrong_words(["--version"], commands) == []
    assert wrong_words(["predict", "m", "-", "--no-such", "--epochs=3"], commands) == ["--no-such", "--epochs"]
    assert wrong_words(["trian", "a", "--run"], commands) == ["trian"]


@each_document
def test_places_that_are_linked_to_are_headings(document: Path) -> None:
    for file, place in PLACE.findall(document.read_text(encoding="utf-8")):
        target = (document.parent / file) if file else document
        assert place in places(target), f"{document.name} links to {file}#{place}"


def places(document: Path) -> set[str]:
    """The names by which the headings of a document are linked to: small letters, hyphens for spaces, no marks."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_every_command_in_a_document_can_be_typed(document: Path, commands: Options) -> None:
    lines = edgecnn_commands(document.read_text(encoding="utf-8"))
    assert {" ".join(words): wrong for words in lines if (wrong := wrong_words(words, commands))} == {}


def test_every_command_is_told_of_in_the_readme_or_a_guide(commands: Options) -> None:
    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    assert [name for name in commands if not re.search(rf"\bedgecnn\s+{name}\b", text)] == []


@each_document
def test_every_script_that_a_document_names_exists(document: Path) -> None:
    named = re.findall(r"(?<![\w/.])scripts/\w[\w.-]*\b", document.read_text(encoding="utf-8"))
    assert [path for path in named if not (CHECKOUT / path).is_file()] == []


@each_document
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    found = LINK.findall(document.read_text(encoding="utf-8"))
    targets = [markdown or html for markdown, html in found]
    assert [target for target in targets if not (document.parent / unquote(target)).exists()] == []


def test_the_readme_names_the_test_command() -> None:
    assert "scripts/test" in README.read_text(encoding="utf-8")


def test_no_file_names_a_place_on_the_machine_it_was_written_on() -> None:
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    end = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=False)
    if end.returncode != 0:
        pytest.skip("not a clone: git does not say which files belong to edgecnn")
    files = [CHECKOUT / name for name in end.stdout.decode().split("\0") if name]
    texts = {path: data for path in files if path.is_file() and b"\0" not in (data := path.read_bytes())}
    assert len(texts) > 50
    found = {path.name: MACHINE.findall(data.decode("utf-8", "replace")) for path, data in texts.items()}
    assert {name: places for name, places in found.items() if places} == {}


def test_the_operators_and_limits_of_the_guide_are_those_of_the_program() -> None:
    guide = (CHECKOUT / "docs/security.md").read_text(encoding="utf-8")
    head, listed = guide.split("## Operators\n")
    assert re.findall(r"`([\w.]+)`", listed.split("\n\n", 1)[1]) == sorted(operators.RULES)
    assert listed.startswith(f"{len(operators.RULES)}, ")
    table = dict(re.findall(r"^\| (.+?) \| ([\d,]+)", head, re.MULTILINE))
    limits = {
        "nodes": contents.MAX_NODES,
        "weights and constants": contents.MAX_TENSORS,
        "fields of the file": contents.MAX_FIELDS,
        "inputs and outputs": contents.MAX_INPUTS,
        "metadata": contents.MAX_METADATA_BYTES >> 20,
        "everything but the weights": contents.MAX_STRUCTURE_BYTES >> 20,
        "a name": protobuf.MAX_TEXT_BYTES,
        "axes of a tensor": contents.MAX_RANK,
        "graphs within graphs": contents.MAX_DEPTH,
        "numbers that are needed at a time for one picture": sizes.MAX_LIVE_ELEMENTS,
        "work for one picture, in multiply-adds": sizes.MAX_WORK,
        "the file": MAX_MODEL_BYTES >> 30,
    }
    assert table == {name: f"{limit:,}" for name, limit in limits.items()}
