"""Several devices at a time; one that fails holds up no other."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from edgecnn.cli.streams import tell as tell_all
from edgecnn_deploy.connection import Outcome, check_ssh, deliver
from edgecnn_deploy.hosts import Host
from edgecnn_deploy.parcel import Parcel

_MOST_S = 1800.0  # to send and install, before the first label is waited for: a slow card, a slow network
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
    each is shown all the same, also of those that were not begun, before the exception goes on.

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
    """
    check_ssh()
    stop, one_at_a_time = threading.Event(), threading.Lock()
    begun: set[Host] = set()

    def one(host: Host) -> None:
        if not stop.is_set():
            begun.add(host)
            most_s = _MOST_S + wait_s
            outcome = deliver(host, parcel, options, stop, most_s=most_s, tell=lambda line: tell(host, line))
            try:
                with one_at_a_time:
                    show(outcome)
            except OSError:  # here, before this thread begins with the next one
                stop.set()
                raise

    try:
        with ThreadPoolExecutor(jobs, thread_name_prefix="deploys") as pool:
            try:
                for done in as_completed([pool.submit(one, host) for host in hosts]):
                    done.result()
            except (KeyboardInterrupt, OSError):
                tell_all("stopping: devices that are at work go back to what they had")
                raise
            finally:
                stop.set()
    finally:
        for host in hosts:
            if host not in begun:
                with contextlib.suppress(OSError):  # standard output is gone
                    show(Outcome(host, {}, _NOT_BEGUN))
