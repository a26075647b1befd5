# shellcheck shell=sh
# Makes .venv and installs edgecnn into it; read by scripts/demo and scripts/test, which are its users.
#
#   . scripts/venv.sh         in the root of the checkout
#   ensure_venv train,cpu     afterwards .venv holds these extras, or the script has ended with a message and code 2
#
# Nothing is installed anywhere else. PYTHON names the interpreter to make .venv with; uv is used where it is found.

venv=.venv
stamp=$venv/edgecnn-installed       # what the last complete installation was made from
unfinished=$venv/edgecnn-unfinished # lies there while something writes into .venv
log=$venv/install.log
room_mb=2500 # .venv with TensorFlow takes 1,800 MB, the downloads 380 MB
uv=$(command -v uv || true)
root=$(pwd)

: "${name:?a script that reads this one says its own name}" "${here:?and where the user stands}"

say() { printf '%s: %s\n' "$name" "$*" >&2 || :; }
die() {
  say "$*"
  exit 2
}

# Ends where no interpreter can help: there are no packages of ONNX Runtime for this machine.
check_machine() {
  case $(uname -m) in
  armv[5-7]* | armhf | arm | i[3-6]86)
    die "a 64-bit system is needed, since ONNX Runtime exists for no other; this one is $(uname -m). On a Raspberry Pi 3," \
      "4, 5 or Zero 2 W install the 64-bit Raspberry Pi OS"
    ;;
  esac
}

# Prints the interpreter to make .venv with. TensorFlow has no packages for Python 3.14 yet; who names it gets it.
find_python() {
  if [ -n "${PYTHON:-}" ]; then
    case $PYTHON in
    /*) ;;
    */*) PYTHON=$here/$PYTHON ;;
    esac
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
      die "Python must be 3.11 or newer; PYTHON=$PYTHON is older or does not run"
    printf '%s\n' "$PYTHON"
    return
  fi
  for candidate in python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  [ -z "$uv" ] || { echo 3.13 && return; } # uv fetches it
  found=$(python3 --version 2>/dev/null) || found='no python3'
  die "Python must be 3.11, 3.12 or 3.13; found $found. Install one of them (Debian 12 and 13 bring one:" \
    "sudo apt install python3 python3-venv), or name it: PYTHON=/path/to/python3.12 $name"
}

# Ends where an interpreter cannot use the packages there are, or cannot make a virtual environment.
check_python() {
  [ -z "$uv" ] || return 0
  "$1" -c 'import struct, sys; sys.exit(struct.calcsize("P") < 8)' ||
    die "a 64-bit Python is needed, since ONNX Runtime exists for no other; $1 is a 32-bit one. On a Raspberry Pi" \
      "install the 64-bit Raspberry Pi OS"
  "$1" -c 'import sys, sysconfig as s; sys.exit("musl" in str(s.get_config_var("HOST_GNU_TYPE")))' ||
    die "a system with glibc is needed, such as Debian; $1 was built for musl (Alpine), which ONNX Runtime and" \
      "TensorFlow do not support"
  "$1" -c 'import ensurepip, venv' 2>/dev/null || {
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    die "$1 cannot make a virtual environment; on Debian and Raspberry Pi OS type:" \
      "sudo apt install python3-venv    (or python$version-venv, if there are several Pythons)"
  }
}

# Ends where the disk is too small, before anything is downloaded.
check_room() {
  free_kb=$(df -Pk . | sed -n '2s/.* \([0-9][0-9]*\)  *[0-9][0-9]*% .*/\1/p') # names of devices may hold spaces
  free_mb=$((${free_kb:-$((room_mb * 1024))} / 1024))
  [ "$free_mb" -ge "$room_mb" ] ||
    die "$room_mb MB of free disk are needed; there are $free_mb MB in $root: free some, or move the checkout"
}

make_venv() {
  check_machine
  python=$(find_python)
  check_python "$python"
  check_room
  if { [ -e "$venv" ] || [ -L "$venv" ]; } && [ ! -e "$stamp" ] && [ ! -e "$unfinished" ]; then
    die "$root/$venv is there, cannot be installed into (it has no pip), and was not made by edgecnn: move it away"
  fi
  [ ! -e "$unfinished" ] || say "the last installation into $venv was cut off"
  rm -rf "$venv" 2>/dev/null || die "$venv must be replaced; it cannot be deleted: check its owner"
  say "making $venv with $python"
  mkdir "$venv" || die "$venv must be made in $root; that failed: check who may write there"
  : >"$unfinished"
  if [ -n "$uv" ]; then
    uv venv --quiet --allow-existing --python "$python" "$venv"
  else
    "$python" -m venv "$venv"
  fi || die "$venv could not be made with $python; what is said above tells why"
}

# Keeps a second script from installing into the same .venv; the lock goes with the process, however it ends.
lock() {
  command -v flock >/dev/null || return 0
  exec 9>"$venv-lock" || die "$venv must be made in $root; that failed: check who may write there"
  flock -n 9 || die "another process is installing into $root/$venv: wait for it, then run this again"
}

# Succeeds if .venv runs, can be installed into, was not moved here, and no installation into it was cut off.
usable() {
  [ ! -e "$unfinished" ] &&
    { [ ! -e "$stamp" ] || grep -qxF -- "$root" "$stamp"; } &&
    "$venv/bin/python" -c "${uv:+#}import pip" 2>/dev/null
}

pip_install() {
  if [ -n "$uv" ]; then
    uv pip install --python "$venv/bin/python" "$@" >>"$log" 2>&1
  else
    # Settings of the user's that would install elsewhere; indexes and proxies stay
    env -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT -u PIP_REQUIRE_VIRTUALENV PIP_USER=0 \
      "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --log "$log" "$@" >/dev/null 2>&1
  fi
}

# Runs what writes into .venv. An installer that reports a failure leaves .venv whole; one that was killed may not.
guarded() {
  : >"$unfinished"
  status=0
  "$@" || status=$?
  [ "$status" -gt 128 ] || rm -f "$unfinished"
  return "$status"
}

# Says now and then what the installer is at, from its log, so that nobody sits before a dead screen. Ends with the
# installation or the script, since a signal that comes while the shell forks is lost.
watch_log() {
  last='' quiet=0
  while sleep 1 >/dev/null 2>&1 && [ -e "$unfinished" ] && kill -0 $$ 2>/dev/null; do
    now=$(sed -n 's|^[-0-9T:,]* *Downloading \([^ ]*/\)*\([A-Za-z0-9_.]*\)-[0-9][^ ]* \((.*B)\).*|downloading \2 \3|p
      s|^[-0-9T:,]* *Installing collected packages: .*, .*, .*|unpacking the packages: a minute|p' "$log" 2>/dev/null | tail -n 1)
    quiet=$((quiet + 1))
    if [ "$now" != "$last" ]; then
      say "  $now"
      last=$now quiet=0
    elif [ "$quiet" -ge 30 ]; then
      say "  still working"
      quiet=0
    fi
  done
}

# What pip and uv write of a network that fails
network_errors='ConnectionError|NewConnectionError|name resolution|Name or service not known|[Tt]imed out|IncompleteRead'
network_errors="$network_errors|incomplete-download|Connection broken|ProtocolError|ProxyError|Tunnel connection|SSLError"
network_errors="$network_errors|HTTP error|Server Error|Client Error|Failed to fetch|error sending request"

# Why an installation failed, from its log, with what to do.
explain() {
  if grep -q 'No space left on device' "$log"; then
    echo "there was no space left on the disk, or in ${TMPDIR:-/tmp}, where downloads lie for a while: free some, or set TMPDIR"
  elif grep -qE 'do not match the hashes|Expected sha256' "$log"; then
    echo "a download arrived damaged: run it again"
  elif grep -qE "$network_errors" "$log"; then
    echo "the network failed: run it again, what was downloaded is kept. Behind a proxy, set https_proxy first"
  elif grep -qE 'No matching distribution|No solution found' "$log"; then
    echo "a package does not exist for this Python and machine, or its index was not reached"
  else
    reason=$(grep -E 'ERROR: |error: ' "$log" | tail -n 1 | sed 's/^[-0-9T:,]* *//' | cut -c 1-200)
    echo "${reason:-the installer gave no reason}"
  fi
}

# Installs edgecnn with extras into .venv, or ends with the reason.
install_edgecnn() {
  extras=$1
  : >"$log"
  : >"$unfinished"
  watch_log 9>&- &
  watcher=$!
  trap 'kill "$watcher" 2>/dev/null || :' EXIT
  installed=0
  guarded pip_install -e ".[$extras]" || installed=$?
  kill "$watcher" 2>/dev/null || :
  trap - EXIT
  [ "$installed" -le 128 ] || {
    say "the installation was killed: run it again"
    exit "$installed"
  }
  [ "$installed" = 0 ] || die "edgecnn[$extras] could not be installed; $(explain). Details: $root/$log"
}

has_wheel() { ls -d "$venv"/lib/python3*/site-packages/"$1"-*.dist-info >/dev/null 2>&1; }

# The packages onnxruntime and onnxruntime-gpu overwrite each other's files: where both are, both go, and one comes back.
part_wheels() {
  if has_wheel onnxruntime && has_wheel onnxruntime_gpu; then
    say "onnxruntime and onnxruntime-gpu are both in $venv and have overwritten each other's files: installing one anew"
    if [ -n "$uv" ]; then
      uv pip uninstall --python "$venv/bin/python" onnxruntime onnxruntime-gpu >>"$log" 2>&1
    else
      "$venv/bin/python" -m pip uninstall --quiet --yes onnxruntime onnxruntime-gpu >>"$log" 2>&1
    fi
    flavour=cpu
    ! command -v nvidia-smi >/dev/null || flavour=gpu
    rm -f "$stamp"
  elif has_wheel onnxruntime_gpu; then
    flavour=gpu
  else
    flavour=cpu
  fi
}

# Makes .venv hold edgecnn with these extras; `cpu` among them becomes `gpu` where that was chosen before.
#
# A second function, named as the second argument, installs what belongs to the extras beside them.
ensure_venv() {
  lock
  usable || make_venv
  part_wheels
  wanted_extras=$(printf '%s' "$1" | sed "s/cpu/$flavour/")
  made_from="$(cksum <pyproject.toml) $("$venv/bin/python" --version)"
  present=$(sed -n 's/^extras //p' "$stamp" 2>/dev/null || true)
  if [ -e "$stamp" ] && grep -qxF -- "$made_from" "$stamp" && holds "$present" "$wanted_extras"; then
    exec 9>&-
    return
  fi
  [ -n "$present" ] && holds "$present" "$wanted_extras" && wanted_extras=$present
  say "installing edgecnn[$wanted_extras] into $venv: the first time this downloads 400 MB and takes minutes"
  rm -f "$stamp"
  install_edgecnn "$wanted_extras"
  [ -z "${2:-}" ] || "$2"
  printf '%s\n%s\nextras %s\n' "$root" "$made_from" "$wanted_extras" >"$stamp.part"
  mv "$stamp.part" "$stamp"
  exec 9>&-
  say "installed"
}

# Succeeds if the comma-separated list $1 holds everything of the list $2.
holds() {
  for extra in $(printf '%s' "$2" | tr ',' ' '); do
    case ",$1," in *",$extra,"*) ;; *) return 1 ;; esac
  done
}
