# shellcheck shell=sh disable=SC2154 # venv.sh sets the names
# What a machine must have before anything is downloaded; read by scripts/venv.sh, whose names these functions use.

# Prints what is to be known of an interpreter, or nothing: `3.11.2 fits 64-bit glibc venv`.
#
# Old Pythons must understand it too. CS_GNU_LIBC_VERSION is how pip itself tells glibc, which wheels need, from musl.
facts() {
  "$1" - 2>/dev/null <<'END' || true
import os, struct, sys

fits = "old" if sys.version_info < (3, 11) else "new" if sys.version_info >= (3, 14) else "fits"
bits = "%d-bit" % (8 * struct.calcsize("P"))
libc = "glibc"
if sys.platform.startswith("linux"):
    try:
        libc = "glibc" if os.confstr("CS_GNU_LIBC_VERSION") else "no-glibc"
    except (OSError, ValueError):
        libc = "no-glibc"
    except AttributeError:
        pass
try:
    import ensurepip, venv
    makes = "venv"
except ImportError:
    makes = "no-venv"
print("%d.%d.%d %s %s %s %s" % (tuple(sys.version_info[:3]) + (fits, bits, libc, makes)))
END
}

version() { facts "$1" | cut -d ' ' -f 1; }

# Ends where no interpreter can help, or, given one, where that one cannot: there are no wheels.
check_machine() {
  case $(uname -m) in
  arm | armhf | armv[5-8]* | i[3-6]86) refuse_32_bits "this machine is $(uname -m)" ;;
  esac
  [ $# = 0 ] || case $(facts "$1") in
  *' 32-bit '*) refuse_32_bits "$1 is a 32-bit program (on a kernel that says $(uname -m))" ;;
  *' no-glibc '*)
    die "ONNX Runtime and TensorFlow need the GNU C library; $1 was built for another (that of Alpine is musl)" \
      'Use a system with glibc, such as Debian, Ubuntu, Fedora or Raspberry Pi OS.'
    ;;
  esac
}

refuse_32_bits() {
  die "a 64-bit system is needed, since there is no ONNX Runtime for 32-bit ones; $1" \
    'On a Raspberry Pi 3, 4, 5 or Zero 2 W flash the 64-bit Raspberry Pi OS; older ones are 32-bit only.'
}

# Prints the interpreter to make .venv with. TensorFlow has no release for Python 3.14 yet; who names it gets it.
find_python() {
  rule='Python must be 3.11, 3.12 or 3.13'
  if [ -n "${PYTHON:-}" ]; then
    case $(facts "$PYTHON") in
    '') die "$rule; PYTHON=$PYTHON does not run" "Name one that does, or type $name without PYTHON." ;;
    *' old '*) die "$rule; PYTHON=$PYTHON is $(version "$PYTHON")" "Name another, or type $name without PYTHON." ;;
    esac
    printf '%s\n' "$PYTHON"
    return
  fi
  found=
  for candidate in python3 python3.13 python3.12 python3.11; do
    case $(facts "$candidate") in
    '') ;;
    *' fits '*) printf '%s\n' "$candidate" && return ;;
    *' old '*) found="$found, $candidate is $(version "$candidate")" ;;
    *) found="$found, $candidate is $(version "$candidate"), for which there is no TensorFlow yet" ;;
    esac
  done
  [ -z "$uv" ] || { echo "$fetched" && return; }
  found=${found#, }
  die "$rule; ${found:-there is no python3}" \
    'From Debian and Raspberry Pi OS 12, and from Ubuntu 24.04 on:  sudo apt install python3 python3-venv' \
    'Where apt has only an older or a newer one, install uv (https://docs.astral.sh/uv/), which fetches Python.' \
    "If Python lies elsewhere, name it:  PYTHON=/path/to/python3.12 $name"
}

check_venv_module() {
  [ -z "$uv" ] || return 0
  case $(facts "$1") in
  *' no-venv')
    die "$1 cannot make a virtual environment: its modules venv and ensurepip are not installed" \
      "On Debian, Ubuntu and Raspberry Pi OS:  sudo apt install python3-venv" \
      "For a second Python beside the system's:  sudo apt install python$(version "$1" | cut -d . -f 1,2)-venv"
    ;;
  esac
}

check_writable() {
  [ -w . ] || die "$root must be writable, since $venv and its temporary files lie in there; it is not" \
    "Copy it to a folder of yours:  cp -r '$root' ~/edgecnn-copy"
  [ ! -d "$venv" ] || [ -w "$venv" ] || die "$root/$venv must be writable to install into it; it is not" \
    "If it was made with sudo:  sudo chown -R $(id -un) '$root'"
}

# Prints the free MB at a place; nothing where df does not know.
free_mb() {
  df -Pk "$1" 2>/dev/null |
    awk 'NR == 2 { for (i = 5; i <= NF; i++) if ($i ~ /^[0-9]+%$/) { print int($(i - 1) * 1.024 / 1000); exit } }'
}

taken_mb() { du -sk "$venv/." 2>/dev/null | awk '{ print int($1 * 1.024 / 1000) }'; }

# Ends where the disk is too small, before anything is downloaded; what lies in .venv already is not needed again.
check_room() {
  place=.
  needed=$room_mb
  if [ -d "$venv" ]; then
    place=$venv/.
    needed=$((room_mb - $(taken_mb)))
  fi
  free=$(free_mb "$place")
  [ "${free:-$needed}" -ge "$needed" ] ||
    die "$needed MB of free disk are needed in $root/$venv; there are $free MB" \
      'Free some, or let it lie on another disk:' \
      "  rm -rf '$root/$venv'; mkdir /DISK/edgecnn-venv && ln -s /DISK/edgecnn-venv '$root/$venv'"
  [ -n "${TMPDIR:-}" ] || return 0
  free=$(free_mb "$TMPDIR")
  [ "${free:-$downloads_mb}" -ge "$downloads_mb" ] ||
    die "$downloads_mb MB are needed for temporary files; TMPDIR=$TMPDIR has $free MB" \
      "Without TMPDIR they go into $venv:  unset TMPDIR"
}
