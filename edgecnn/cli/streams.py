"""What commands have in common: the story on standard error, results guarded on standard output, signals."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from edgecnn.errors import printable


def tell(message: str) -> None:
    """A line on standard error."""
    with contextlib.suppress(OSError):  # standard error is full or gone, and what goes there is not what was asked for
        print("\n".join(map(printable, message.split("\n"))), file=sys.stderr, flush=True)  # noqa: T201


@contextlib.contextmanager
def beside(name: str, look: Callable[..., None], *words: object) -> Iterator[None]:
    """Run something in a thread of its own while the body runs.

    Args:
        name: Of the thread.
        look: Called with `words` and an event, at whose being set it returns.
        words: What else it is called with.
    """
    done = threading.Event()
    thread = threading.Thread(target=look, args=(*words, done), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(2.0)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM (``kill``, systemd, Docker) and SIGHUP stop a live feed as Ctrl-C does; a second one ends it at once.

    A signal that is ignored, as Ctrl-C is by a shell's background job, stays so. Outside the main thread, where Python
    takes none, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    handlers = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, at_once)
        raise KeyboardInterrupt

    def at_once(number: int, _frame: FrameType | None) -> None:
        programs = sys.modules.get("edgecnn.sources._process")
        if programs is not None:
            programs.kill_all()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        os._exit(128 + number)  # the first process of a container survives such a signal

    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def guarded_stdout() -> Iterator[None]:
    """Keep standard output for results: what libraries print there (ONNX Runtime does) goes to standard error.

    Results are UTF-8 whatever the terminal's locale says, as JSON must be.
    """
    try:
        descriptor = os.dup(sys.stdout.fileno())
    except (AttributeError, io.UnsupportedOperation):  # closed, or replaced by a test
        yield
        return
    plain = sys.stdout
    plain.flush()
    sys.stdout = open(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n")  # noqa: SIM115
    os.dup2(2, plain.fileno())
    try:
        yield
    finally:
        results, sys.stdout = sys.stdout, plain
        os.dup2(descriptor, plain.fileno())
        with contextlib.suppress(OSError):  # what could not be written has been told
            results.close()
