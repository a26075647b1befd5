"""One file per kind of data set; the one whose `accepts` says yes reads it."""
