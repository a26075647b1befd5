"""A Python with pip, as told by the environment: machine.py puts it on PATH, and its ``-m venv`` puts it into .venv.

``VERSION``, ``BITS``, ``LIBC=musl`` and ``NO_VENV`` say what kind it is; ``VENV_FAILS``, that it makes no environment.
Its pip notes in ``$NOTES`` what it is asked for, and leaves an ``edgecnn`` that says what it is called with. ``CONFIG``
is what ``pip config list`` prints, ``PIP_LOGS`` and ``PIP_SAYS`` what an installation writes into its log and to
standard error, ``PIP_HANGS`` a file that it makes before it sleeps for ``PIP_TAKES`` seconds, ``PIP_KILLED`` a signal
that ends it. Imports are where they are needed, since a script starts a Python ten times.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing's own costs an import
if TYPE_CHECKING:
    from typing import TextIO

EDGECNN = '#!/bin/sh\necho "edgecnn $*, in $(pwd)"\n'
PACKAGES = "lib/python3.11/site-packages"


def say(stream: TextIO, text: str) -> None:
    stream.write(text + "\n")
    stream.flush()


def run(code: str) -> None:
    """Code of the scripts, in a Python of another kind."""
    import struct

    def confstr(name: str) -> str:
        raise ValueError(f"unrecognized configuration name: {name}")

    bits = int(os.environ.get("BITS", "64"))
    sys.version_info = tuple(map(int, os.environ.get("VERSION", "3.11.2").split(".")))  # type: ignore[assignment]
    struct.calcsize = lambda _: bits // 8
    if os.environ.get("LIBC") == "musl":
        os.confstr = confstr
    there = None if "NO_VENV" in os.environ else sys  # importing None fails
    sys.modules.update(pip=sys, ensurepip=there, venv=there)  # type: ignore[arg-type]
    exec(code, {})


def make(folder: str) -> None:
    import shutil

    if "VENV_FAILS" in os.environ or os.path.islink(folder):
        sys.exit("Error: [Errno 1] Operation not permitted: 'lib'")
    os.makedirs(f"{folder}/bin")
    os.makedirs(f"{folder}/{PACKAGES}")
    shutil.copy(os.environ["FAKE"], f"{folder}/bin/python")


def note(words: list[str]) -> None:
    import json

    seen = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "TMPDIR"}
    with open(os.environ["NOTES"], "a") as file:
        file.write(json.dumps({"words": words, "environment": seen, "terminal": os.isatty(1)}) + "\n")


def misbehave(log: str) -> None:
    """What the environment asks for before an installation succeeds, if it does."""
    with open(log, "a") as file:
        file.write(os.environ.get("PIP_LOGS", "") + "\n")
    say(sys.stdout, "Collecting edgecnn ━━━━")
    if "PIP_SAYS" in os.environ:
        say(sys.stderr, os.environ["PIP_SAYS"])
    if "PIP_HANGS" in os.environ:
        import time

        open(os.environ["PIP_HANGS"], "w").close()
        time.sleep(float(os.environ.get("PIP_TAKES", "60")))
    if "PIP_KILLED" in os.environ:
        os.kill(os.getpid(), int(os.environ["PIP_KILLED"]))
    if "PIP_FAILS" in os.environ:
        sys.exit(1)


def pip(prefix: str, words: list[str]) -> None:
    if words[:2] == ["config", "list"]:
        say(sys.stdout, os.environ.get("CONFIG", ""))
        return
    note(words)
    misbehave(words[words.index("--log") + 1])
    if "--target" in words:
        os.mkdir(words[words.index("--target") + 1])
    elif words[-1].startswith(".["):
        with open(f"{prefix}/bin/edgecnn", "w") as file:
            file.write(EDGECNN)
        os.chmod(f"{prefix}/bin/edgecnn", 0o755)
        for name in ("onnxruntime_gpu" if "gpu" in words[-1] else "onnxruntime", "tensorflow_cpu"):
            os.makedirs(f"{prefix}/{PACKAGES}/{name}-1.32.0.dist-info", exist_ok=True)


def main(called: str, words: list[str]) -> None:
    match words:
        case ["-"]:
            run(sys.stdin.read())
        case ["-c", code]:
            run(code)
        case ["--version"]:
            say(sys.stdout, "Python " + os.environ.get("VERSION", "3.11.2"))
        case ["-m", "venv", folder]:
            make(folder)
        case ["-m", "pip", *rest]:
            pip(os.path.dirname(os.path.dirname(called)), rest)
        case _:
            sys.exit(f"unexpected: {words}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
