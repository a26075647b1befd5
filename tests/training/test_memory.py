"""What a training step frees is kept for the next one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import numpy as np
from edgecnn_training.memory import keep_freed_memory

said = keep_freed_memory()
np.ones(5 * 2**20)  # the first time, every page is new
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(5 * 2**20)
print(said, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 5 * 2**20 * 8 // os.sysconf("SC_PAGE_SIZE")


def steps(**environment: str) -> tuple[str, int]:
    """Five arrays of 40 MiB, one after the other: what was returned, and how many new pages they took."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_"))}
    plain["NUMPY_MADVISE_HUGEPAGE"] = "0"  # so that each page counts
    done = subprocess.run(
        [sys.executable, "-c", STEPS], env={**plain, **environment}, capture_output=True, text=True, check=True
    )
    said, pages = done.stdout.split()
    return said, int(pages)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be set")
def test_freed_memory_is_used_again() -> None:
    assert steps() == ("True", pytest.approx(0, abs=PAGES // 10))


@pytest.mark.parametrize("own", [{"MALLOC_TOP_PAD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.top_pad=131072"}])
def test_settings_of_the_user_are_left_alone(own: dict[str, str]) -> None:
    said, pages = steps(**own)
    assert said == "False"
    if platform.libc_ver()[0] == "glibc":
        assert pages > 4 * PAGES  # as glibc does it
