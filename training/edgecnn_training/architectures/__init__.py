"""One file per network; its file name is its name."""
