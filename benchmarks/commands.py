"""Running ``edgecnn`` from a benchmark."""

from __future__ import annotations

import json
import subprocess
import sys


def edgecnn(*arguments: object) -> dict[str, object]:
    """Run a command and take its last JSON line; end with what it said where it fails."""
    done = subprocess.run([sys.executable, "-m", "edgecnn", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"edgecnn {' '.join(map(str, arguments))} failed:\n{done.stderr}")
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result
