# Prints the most telling line of what pip or uv complained of, after a word for its kind: full, network, none or other.
#
# The last line of the highest rank wins: a pip that found no room on the disk or no server goes on to say other things.
# The wording was collected from pip 23.0, 23.2, 24.2 and 26.3, and from uv 0.13.

function note(rank, kind, text) {
  if (rank >= best) {
    best = rank
    line = kind " " text
  }
}

{
  sub(/^[^A-Za-z]*/, "")
  sub(/[ \r]*$/, "")
  bare = $0
  sub(/^(ERROR|error|WARNING|cause): /, "", bare)
}

/Errno 28|Errno 122|No space left|[Qq]uota exceeded/ { note(9, "full", bare) }

/from versions: [0-9]/ { note(8, "none", bare) }
/DO NOT MATCH THE HASHES|[Hh]ash mismatch/ {
  note(8, "network", "a download does not match its checksum, so it was cut off or changed")
}

/^Download failed|^ERROR: HTTP error|returned a [45]/ { note(7, "network", bare) }
/^pip\._vendor\.[A-Za-z0-9_.]*: / { # the end of a traceback
  sub(/^[A-Za-z0-9_.]*\./, "", bare)
  note(7, "network", bare)
}

/after connection broken by/ { # 'NewConnectionError('<object>: REASON')': /simple/keras/
  sub(/.*after connection broken by ./, "", bare)
  sub(/.: \/[^ ]*$/, "", bare)
  sub(/^.*(OSError|object at 0x[0-9a-f]*>)[(:]./, "", bare)
  sub(/^[A-Za-z]*Error\(./, "", bare)
  sub(/['"]\)+$/, "", bare)
  note(6, "network", bare)
}

/^error: Request failed|^cause: .*(error|timed out|failed to lookup|HTTP status)/ { note(5, "network", bare) }
/No matching distribution found for setuptools/ {
  note(5, "network", "no setuptools in the package index, so the index was not reached, or refuses")
}

/^(ERROR|error): No (matching distribution|solution) / { note(4, "none", bare) }
/^file: / { note(3, "other", "the settings cannot be read, " bare) }
/^(ERROR|error): / && !/: (Exception:|subprocess-exited|Failed to build|Could not find a version|.present-rich)/ {
  note(2, "other", bare)
}
/^[A-Za-z_.]*(Error|Exception): / { note(1, "other", bare) }
/./ { note(0, "other", bare) }

END { print substr(line, 1, 300) }
