"""Several devices at a time; one that fails holds up no other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from edgecnn.cli.streams import tell as tell_all
from edgecnn_deploy.connection import Outcome, deliver
from edgecnn_deploy.hosts import Host
from edgecnn_deploy.parcel import Parcel

_MOST_S = 1800.0  # to send and install, before the first label is waited for: a slow card, a slow network


def deploy_all(
    hosts: Sequence[Host],
    parcel: Parcel,
    options: Sequence[str],
    *,
    jobs: int,
    wait_s: float,
    tell: Callable[[Host, str], None],
) -> Iterator[Outcome]:
    """Deliver a parcel to all, and yield what came of each as it comes.

    Whoever stops to listen, as by Ctrl-C, stops all of it: devices that are at work go back to what they had.

    Args:
        hosts: The devices.
        parcel: What each gets.
        options: More options for ssh.
        jobs: How many at a time.
        wait_s: How long each waits for its first label.
        tell: Is told what a device tells, as it comes.
    """
    stop = threading.Event()

    def one(host: Host) -> Outcome:
        if stop.is_set():
            return Outcome(host, {}, "it was stopped")
        most_s = _MOST_S + wait_s
        return deliver(host, parcel, options, stop, most_s=most_s, tell=lambda line: tell(host, line))

    with ThreadPoolExecutor(jobs, thread_name_prefix="deploys") as pool:
        try:
            for done in as_completed([pool.submit(one, host) for host in hosts]):
                yield done.result()
        except KeyboardInterrupt:
            tell_all("stopping: devices that are at work go back to what they had")
            raise
        finally:
            stop.set()
