# shellcheck shell=sh disable=SC2030,SC2031 # TMPDIR is meant to differ in the subshell of `undisturbed`
# Makes .venv and installs edgecnn into it; read by scripts/demo and scripts/test, which are its users.
#
#   name=scripts/demo           for the messages
#   here=$(pwd)                 where the user stands
#   . scripts/venv.sh           in the root of the checkout; installs nothing yet
#   ensure_venv train,cpu       afterwards .venv holds these extras, or the script has ended with a message and code 2
#
# Nothing is installed anywhere else, and the system's pip is never used. One .venv serves both scripts. PYTHON names
# the interpreter to make it with; uv is used where it is found.

venv=.venv
stamp=$venv/edgecnn-installed       # what the last complete installation was made from
unfinished=$venv/edgecnn-unfinished # lies there while something writes into .venv
ours=$venv/edgecnn-made-this        # .venv was made here, so that it may be deleted here
log=$venv/install.log               # all that pip says
errors=$venv/install.errors         # what it complains of
room_mb=3000                        # measured: .venv 2,050 MB, then 470 of downloads in there, and pip's cache of them
downloads_mb=500                    # what pip needs in a TMPDIR of the user's
uv=$(command -v uv || true)
fetched=3.13 # what uv fetches where no Python fits
root=$(pwd)
installing=

: "${name:?a script that reads this one says its own name}" "${here:?and where the user stands}"
case ${PYTHON:-} in
/*) ;;
*/*) PYTHON=$here/$PYTHON ;;
esac
. scripts/checks.sh

# Prints a message: the first line with the script's name, what to do about it below. Nobody need listen.
say() {
  printf '%s: %s\n' "$name" "$1" >&2 || :
  shift
  [ $# = 0 ] || printf '  %s\n' "$@" >&2 || :
}

die() {
  say "$@"
  exit 2
}

# For traps: ends with a code, and says what becomes of an installation.
cut_off() {
  [ -z "$installing" ] ||
    say "stopped; the same command begins again, but what was downloaded whole is taken from the cache"
  exit "$1"
}

# One installation at a time: a second script waits. The lock ends with the last process that holds it.
take_turns() {
  command -v flock >/dev/null || return 0
  exec 9<.
  busy=0
  flock -n 9 2>/dev/null || busy=$? # not every file system has locks
  [ "$busy" != 1 ] || { say "something is installing into $venv already; waiting for it" && flock 9; }
}

# ── what .venv holds

# Succeeds if .venv runs, can be installed into, has the Python that PYTHON names, was not moved here, and no
# installation into it was cut off.
usable() {
  [ ! -e "$unfinished" ] &&
    { [ ! -e "$stamp" ] || grep -qxF -- "$root" "$stamp"; } &&
    { [ -z "${PYTHON:-}" ] || [ "$(version "$PYTHON")" = "$(version "$venv/bin/python")" ]; } &&
    "$venv/bin/python" -c "import sys; sys.version_info >= (3, 11) or sys.exit(1)
${uv:+#}import pip" 2>/dev/null
}

# Succeeds if the comma-separated list $1 holds everything of the list $2.
holds() {
  for extra in $(printf '%s' "$2" | tr ',' ' '); do
    case ",$1," in *",$extra,"*) ;; *) return 1 ;; esac
  done
}

# Prints the metadata folders of an installed wheel, of which pip leaves one.
wheel() {
  for info in "$venv"/lib/python3*/site-packages/"$1"-*.dist-info; do
    [ ! -d "$info" ] || printf '%s\n' "$info"
  done
}

# Sets $flavour to the ONNX Runtime to install, gpu where that was chosen before; $there to what lies there.
look_at_runtimes() {
  flavour=cpu there=none
  [ -z "$(wheel onnxruntime)" ] || there=cpu
  [ -n "$(wheel onnxruntime_gpu)" ] || return 0
  flavour=gpu
  if [ "$there" = none ]; then
    there=gpu
  else
    there=both
    command -v nvidia-smi >/dev/null || flavour=cpu
  fi
}

made_from() { printf '%s %s\n' "$(cksum <pyproject.toml)" "$("$venv/bin/python" --version)"; }

# Succeeds if .venv holds the extras and one ONNX Runtime, made from this pyproject.toml by this Python.
is_ready() {
  look_at_runtimes
  usable && [ "$there" = "$flavour" ] && grep -qxF -- "$(made_from)" "$stamp" 2>/dev/null &&
    holds "$(sed -n 's/^extras //p' "$stamp")" "$(printf '%s' "$1" | sed "s/cpu/$flavour/")"
}

# ── making and installing

make_venv() {
  python=$(find_python)
  if [ "$python" != "$fetched" ]; then
    check_machine "$python"
    check_venv_module "$python"
  fi
  [ -z "$(ls -A "$venv" 2>/dev/null)" ] || [ -e "$ours" ] || [ -e "$stamp" ] || [ -e "$unfinished" ] ||
    die "$root/$venv must be made by $name, or be an environment with Python 3.11 or newer and pip; it is neither" \
      "Move it away:  mv '$root/$venv' '$root/venv-before'"
  [ ! -e "$unfinished" ] || say "the last installation into $venv was cut off"
  say "making $venv with $python"
  if [ -d "$venv" ]; then # it may be a link to another disk
    rm -rf "${venv:?}"/* "${venv:?}"/.[!.]* 2>/dev/null ||
      die "what lies in $root/$venv must be deleted, and cannot be: check who owns it"
  else
    rm -f "$venv"
    mkdir "$venv"
  fi
  : >"$unfinished"
  : >"$ours"
  place=$(cd "$venv" && pwd -P) # Python makes none in a link
  if [ -n "$uv" ]; then
    guarded into_log uv venv --quiet --allow-existing --python "$python" "$place"
  else
    guarded into_log "$python" -m venv "$place"
  fi || {
    : >"$unfinished"
    die "making $venv with $python failed: $(grep . "$log" | tail -n 1)" "All that it said: $root/$log"
  }
}

into_log() { "$@" >"$log" 2>&1; }

# Runs an installer so that no setting of the user's leads it elsewhere, with temporary files in .venv, since /tmp is
# often small, or memory. Indexes, proxies and certificates stay as they are set.
undisturbed() (
  for setting in TARGET PREFIX ROOT PYTHON NO_DEPS DRY_RUN REQUIRE_HASHES NO_BUILD_ISOLATION IGNORE_INSTALLED \
    REQUIREMENT EDITABLE QUIET VERBOSE LOG REPORT REQUIRE_VIRTUALENV; do
    unset "PIP_$setting" "UV_$setting"
  done
  export PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1
  if [ -z "${TMPDIR:-}" ]; then
    mkdir -p "$venv/tmp"
    export TMPDIR="$root/$venv/tmp"
  fi
  "$@"
)

# On a terminal pip draws its bars; otherwise, and with uv, `watch` tells how far it is.
pip_install() {
  : >"$errors"
  if [ -n "$uv" ]; then
    uv pip install --python "$venv/bin/python" "$@" >>"$log" 2>"$errors"
  elif [ -t 2 ]; then
    "$venv/bin/python" -m pip install --log "$log" "$@" >&2 2>"$errors"
  else
    "$venv/bin/python" -m pip install --log "$log" "$@" >/dev/null 2>"$errors"
  fi
}

# Runs what writes into .venv. An installer that reports a failure leaves .venv whole; one that was killed may not.
guarded() {
  : >"$unfinished"
  status=0
  undisturbed "$@" || status=$?
  rm -rf "$venv/tmp"
  [ "$status" -gt 128 ] || rm -f "$unfinished"
  return "$status"
}

# Says now and then how far the installer is, from its log, so that nobody sits before a dead screen.
#
# On a terminal pip shows that itself, but for a network that does not answer and, before version 25, for unpacking.
# Ends with the installation or the script, since a signal that comes while the shell forks is lost.
watch() {
  began=$(date +%s)
  spoke=$began last='' retried=0
  while sleep 1 >/dev/null 2>&1 && [ -e "$unfinished" ] && kill -0 $$ 2>/dev/null; do
    now=$(date +%s)
    tries=$(grep -cE 'WARNING: (Retrying|Connection interrupted)' "$log" 2>/dev/null) || tries=0
    at=$(sed -n 's|^[-0-9T:,]* *||
      s|^Downloading \([^ ]*/\)*\([A-Za-z0-9_.]*\)-[0-9][^ ]* (\([0-9.]* MB\)).*|downloading \2, \3|p
      s|^Installing collected packages: .*,.*,.*|unpacking the packages|p' "$log" 2>/dev/null | tail -n 1)
    if [ "$tries" -gt "$retried" ]; then
      retried=$tries
      say "the network does not answer; trying again"
    elif [ -t 2 ] && [ -z "$uv" ] && [ "$at" != 'unpacking the packages' ]; then
      continue
    elif [ "$at" != "$last" ]; then
      last=$at
      say "$at"
    elif [ $((now - spoke)) -ge 20 ]; then
      say "still at it after $((now - began)) s: $(taken_mb) MB in $venv"
    else
      continue
    fi
    spoke=$now
  done
}

# Calls guarded while `watch` watches.
watched() {
  : >"$log"
  : >"$unfinished"
  watch 9<&- &
  watcher=$!
  trap 'kill "$watcher" 2>/dev/null || true' EXIT
  code=0
  guarded "$@" || code=$?
  kill "$watcher" 2>/dev/null || true
  trap - EXIT
  [ ! -s "$errors" ] || cat "$errors" >>"$log"
  return "$code"
}

# Ends with why an installation failed, and what to do.
give_up() {
  what=$1 code=$2
  # a pip that pip started has its complaints in the log only
  warnings=$(grep -E '^[-0-9T:,]+ +(WARNING|ERROR): ' "$log" | sed 's/^[-0-9T:,]* *//')
  why=$(printf '%s\n' "$warnings" | cat - "$errors" | awk -f scripts/why.awk)
  [ -n "$why" ] || why='other the installer gave no reason'
  kind=${why%% *} why=${why#* }
  case $kind in
  full)
    free=$(free_mb "$venv/.")
    [ -z "${TMPDIR:-}" ] || free="${free:-?} MB, and in TMPDIR=$TMPDIR $(free_mb "$TMPDIR")"
    set -- "About $room_mb MB are needed in $root/$venv; now ${free:-?} MB are free." \
      "Free some and type the same command again${TMPDIR:+; without TMPDIR, downloads lie in $venv too}."
    ;;
  network)
    set -- "Type the same command again: what was downloaded whole is taken from the cache." \
      "Behind a proxy, first:  export https_proxy=http://HOST:PORT${https_proxy:+    (it is set; is it right?)}"
    ;;
  none)
    set -- "There is none for this computer (Python $(version "$venv/bin/python"), $(uname -m)), or no index answered." \
      "With another Python:  PYTHON=python3.12 $name. Behind a proxy, first:  export https_proxy=http://HOST:PORT"
    ;;
  *) set -- ;;
  esac
  [ "$code" -le 128 ] || why="the installer was killed by signal $((code - 128))"
  [ "$code" != 137 ] || set -- "That is how the system ends a program when memory runs out: close others, or add swap."
  die "$what could not be installed: $why" "$@" "All that the installer said: $root/$log"
}

# The settings that pip reads from a file cannot be overridden one by one.
check_pip_settings() {
  [ -z "$uv" ] || return 0
  setting=$(undisturbed "$venv/bin/python" -m pip config list 2>/dev/null |
    grep -E '^(global|install)\.(target|prefix|root|no-deps|require-hashes|dry-run|no-build-isolation)=' | head -n 1)
  rm -rf "$venv/tmp"
  [ -n "$setting" ] || return 0
  die "packages must go into $venv as they are; a pip.conf of yours says $setting" \
    "Without it:  .venv/bin/python -m pip config unset ${setting%%=*}" \
    "or, if you need it and no index or proxy from that file:  PIP_CONFIG_FILE=/dev/null $name"
}

# The packages onnxruntime and onnxruntime-gpu overwrite each other's files. One is written anew, then the other's own
# files go: in this order an interruption leaves both, to be seen by the next run.
part_runtimes() {
  say "onnxruntime and onnxruntime-gpu are both in $venv and have overwritten each other's files:" \
    "mending the one for the $flavour, removing the other"
  keep=onnxruntime_gpu drop=onnxruntime
  [ "$flavour" = gpu ] || keep=onnxruntime drop=onnxruntime_gpu
  release=$(wheel "$keep" | sed 's/.*-\([^-]*\)\.dist-info$/\1/')
  watched pip_install --force-reinstall --no-deps "$keep==$release" || give_up "$keep" $?
  keep=$(wheel "$keep")
  drop=$(wheel "$drop")
  awk -F , 'NR == FNR { kept[$1]; next } !($1 in kept) { print $1 }' "$keep/RECORD" "$drop/RECORD" |
    while IFS= read -r file; do rm -f "${drop%/*}/$file"; done
  rm -rf "$drop"
}

install_edgecnn() {
  extras=$1
  if [ -n "$(wheel tensorflow_cpu)$(wheel tensorflow)" ]; then
    say "installing edgecnn[$extras] into $venv: what is missing or has changed"
  else
    say "installing edgecnn[$extras] into $venv: about 450 MB to download, 2.1 GB on the disk; that takes minutes, once"
  fi
  watched pip_install -e ".[$extras]" || give_up "edgecnn[$extras]" $?
  [ -x "$venv/bin/edgecnn" ] || die "edgecnn[$extras] must lie in $venv; a setting of pip's led it elsewhere" \
    "It is among these:  $venv/bin/python -m pip config list" "All that the installer said: $root/$log"
}

# Makes .venv hold edgecnn with these extras; `cpu` among them becomes `gpu` where that was chosen before.
#
# A second function, named as the second argument, installs what belongs to the extras beside them.
ensure_venv() {
  ! is_ready "$1" || return 0
  check_writable
  take_turns
  ! is_ready "$1" || return 0
  check_machine
  installing=yes
  [ -e "$stamp" ] || check_room
  usable || make_venv
  present=$(sed -n 's/^extras //p' "$stamp" 2>/dev/null) || true
  rm -f "$stamp"
  check_machine "$venv/bin/python"
  check_pip_settings
  look_at_runtimes
  [ "$there" != both ] || part_runtimes
  wanted=$(printf '%s' "$1" | sed "s/cpu/$flavour/")
  ! holds "$present" "$wanted" || wanted=$present
  install_edgecnn "$wanted"
  [ -z "${2:-}" ] || "$2"
  printf '%s\n%s\nextras %s\n' "$root" "$(made_from)" "$wanted" >"$stamp.part"
  mv "$stamp.part" "$stamp"
  rm -f "$log" "$errors"
  installing=
  exec 9<&-
  say "installed"
}
