"""``python -m edgecnn`` is ``edgecnn``."""

from edgecnn.cli import start

start()
