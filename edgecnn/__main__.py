"""``python -m edgecnn`` is ``edgecnn``."""

from edgecnn.cli import main

main()
