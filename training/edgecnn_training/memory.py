"""How much memory this process has needed, and keeping what it has freed for its next step."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

_MIB = 2**20
# glibc's malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD, each with what a training sets it to.
_KEPT = ((-1, 256 * _MIB), (-2, 64 * _MIB), (-3, 64 * _MIB))
_OWN_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_")


def peak_bytes() -> int:
    """The most memory this process has held so far, in bytes, pages of memory-mapped files that it read included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def keep_freed_memory() -> bool:
    """Let glibc keep the memory that one training step frees for the next, instead of returning it to the kernel.

    A step of a small network allocates and frees some hundred MiB. By default glibc returns most of that at once, and
    the kernel must clear every page anew: that took up to half the time of an epoch (`benchmarks/allocator.py`), for
    a tenth less memory.

    Returns:
        Whether it was set: not where the C library is another one, nor where the environment sets these values
        (``MALLOC_TOP_PAD_`` and the others of glibc, or ``GLIBC_TUNABLES`` for malloc), which are then left alone.
    """
    if any(name in os.environ for name in _OWN_SETTINGS) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not (hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt")):
        return False
    return all(library.mallopt(option, value) == 1 for option, value in _KEPT)
