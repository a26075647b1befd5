"""Several devices at a time; one that fails holds up no other."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait

from edgecnn.cli.streams import tell as tell_all
from edgecnn_deploy.connection import GRACE_S, Outcome, Stop, check_ssh, deliver
from edgecnn_deploy.hosts import Host
from edgecnn_deploy.parcel import Parcel

_MOST_S = 1800.0  # to send and install, before the first label is waited for: a slow card, a slow network
_LOOK_S = 0.1
_NOT_BEGUN = "all was stopped before it was begun; nothing was changed there: deploy to it again"


def deploy_all(
    hosts: Sequence[Host],
    parcel: Parcel,
    options: Sequence[str],
    *,
    jobs: int,
    wait_s: float,
    tell: Callable[[Host, str], None],
    show: Callable[[Outcome], None],
) -> None:
    """Deliver a parcel to all, and show what came of each as it comes.

    Ctrl-C, or an OSError of `show`, stops all of it: devices that are at work go back to what they had. What came of
    each is shown all the same, also of those that were not begun, before the exception goes on. A second Ctrl-C waits
    for none of them.

    Args:
        hosts: The devices.
        parcel: What each gets.
        options: More options for ssh.
        jobs: How many at a time.
        wait_s: How long each waits for its first label.
        tell: Is told what a device tells, as it comes.
        show: Is called once for each device, one at a time, and in threads that no Ctrl-C interrupts.

    Raises:
        MissingProgramError: There is no ssh here.
        UsageError: It does not take an option.
    """
    check_ssh(options)
    stop, one_at_a_time = Stop(), threading.Lock()
    begun: list[Host] = []
    ended: list[Host] = []

    def one(host: Host) -> None:
        if not stop.asked.is_set():
            begun.append(host)
            most_s = _MOST_S + wait_s
            outcome = deliver(host, parcel, options, stop, most_s=most_s, tell=lambda line: tell(host, line))
            ended.append(host)
            try:
                with one_at_a_time:
                    show(outcome)
            except OSError:  # here, before this thread begins with the next one
                stop.asked.set()
                raise

    hurried = contextlib.ExitStack()
    try:
        with ThreadPoolExecutor(jobs, thread_name_prefix="deploys") as pool:
            work = [pool.submit(one, host) for host in hosts]
            try:
                for done in as_completed(work):
                    done.result()
            except (KeyboardInterrupt, OSError):
                stop.asked.set()
                hurried.enter_context(_hurried(stop))
                tell_all(_stopping([host.typed for host in begun if host not in ended]))
                # in short steps: a signal that comes just before a wait without an end would be heard after it
                while wait(work, _LOOK_S).not_done:
                    pass
                raise
            finally:
                stop.asked.set()
    finally:
        hurried.close()
        for host in hosts:
            if host not in begun:
                with contextlib.suppress(OSError):  # standard output is gone
                    show(Outcome(host, {}, _NOT_BEGUN))


@contextlib.contextmanager
def _hurried(stop: Stop) -> Iterator[None]:
    """Let a second signal wait for no device, instead of ending this program before it is told what each has.

    A third one ends it. Signals that are ignored stay so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    heeded = [number for number, handler in before.items() if callable(handler)]

    def hurry(*_: object) -> None:
        stop.at_once.set()
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)

    try:
        for number in heeded:
            signal.signal(number, hurry)
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])


def _stopping(at_work: Sequence[str]) -> str:
    told = "stopping: devices that are at work go back to what they had"
    if not at_work:
        return told
    more = f" and {len(at_work) - 5} more" if len(at_work) > 5 else ""
    return f"{told}; waiting up to {GRACE_S:.0f} s for {', '.join(at_work[:5])}{more}; Ctrl-C again ends at once"
