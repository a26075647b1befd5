#!/usr/bin/env bash
# Installs edgecnn on a Raspberry Pi or another 64-bit Debian, and a model as a service that starts with the machine:
#
#   sudo bash install.sh --model door.onnx --name door --source pi
#
# --help tells the options. The story goes to standard error, what came of it to standard output as lines key=value.
# Everything is prepared and tried beside what is there, and then switched over by renames; whatever fails or is cut off
# before the new service gives its first label ends with the previous environment, model, configuration and unit.
#
# Into an image it goes from within, where its Python, users and units are: chroot DIR bash install.sh --no-start …
# EDGECNN_TEST_ROOT=DIR stands for / in edgecnn's own tests, which have a systemctl and an apt-get of their own.
set -euo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
unset PYTHONPATH PYTHONHOME
umask 022
trap '' PIPE # a reader that has gone is no reason to stop half-way

root=${EDGECNN_TEST_ROOT:-}
opt=$root/opt/edgecnn etc=$root/etc/edgecnn units=$root/etc/systemd/system program=$root/usr/local/bin/edgecnn
here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
python=python3
in_wheel='import sys; sys.path.insert(0, sys.argv.pop(1))' # a wheel is an archive that Python imports from
first_label='^(.+) ([01]\.[0-9]+)( \(unknown\))?; [0-9,.]+ label'

wheel='' wheelhouse='' extras='' model='' bundled='' name=camera named='' config='' wait_s=120
sources=() valued=() start=yes uninstall='' purge='' until_eof=''
scratch='' made_user='' made_venv='' died='' child='' watcher='' switched='' enabled='' state=failed code=0
places=() restarted=() active=() absent=()

usage() {
  cat <<'END'
usage: sudo bash install.sh [OPTION]...

  --wheel FILE       edgecnn as a wheel; unless given the one beside this script, or fetched from a package index, once
                     edgecnn is on one
  --wheelhouse DIR   take all packages from a folder of wheels, and ask no index
  --extras LIST      extras of edgecnn; unless given those that are there, or cpu, and video where a source of any
                     configuration in /etc/edgecnn is usb: or rtsp:
  --model MODEL      the .onnx file to run as a service, or the name of a model that comes with edgecnn
  --name NAME        what the service is called: edgecnn@NAME; unless given camera
  --source SOURCE    what it looks at, as `edgecnn predict` takes it; repeatable; unless given what is configured, else pi
  --source-file FILE the same from a file, a source in each line: a password in it stays out of the list of processes
  --config FILE      the whole configuration, in place of --source: TOML whose keys are the flags of `edgecnn predict`
  --wait SECONDS     how long to wait for the first label before going back; 0 does not wait; unless given 120
  --no-start         do not start the service now, only with the machine
  --uninstall        stop and remove edgecnn with all its services, but for its models and configurations
  --purge            with --uninstall: these too, and the user edgecnn
  --until-eof        stop and go back when standard input ends, as `edgecnn deploy` wants it
  --help             print this

Exit code 0: installed, or it was already; 1: something else failed; 2: an option has no meaning; 3: the machine or a file
cannot be used; 4: the model is refused; 5: the first label did not come. After all but 0 what was there before is there again.
END
}

say() {
  local LC_ALL=C rest=$* told='' # bytes: what is no UTF-8 may be in a password as well
  while [[ $rest =~ ://[^[:space:]]*@ ]]; do
    told+=${rest%%"${BASH_REMATCH[0]}"*}"://***@"
    rest=${rest#*"${BASH_REMATCH[0]}"}
  done
  printf '%s\n' "$told$rest" >&2 || true
}

# What was typed, for a message: without user and password, which may have blanks in them and line ends.
show() {
  local secret='://*@' mask='://***@'
  shown=${1//$secret/$mask}
}

die() {
  code=$1
  shift
  died=yes
  local told=$*
  say "error: ${told//[[:cntrl:]]/ }"
  exit "$code"
}

# Runs what takes long in a way that a signal ends at once; its output goes to a log.
patiently() {
  local result=0
  set -m # a group of its own, to end with all that it starts
  "$@" >"$scratch/log" 2>&1 </dev/null 3>&- 4>&- &
  child=$!
  set +m
  wait "$child" || result=$?
  child=''
  return "$result"
}

parse_options() {
  local option
  while [ $# -gt 0 ]; do
    option=$1
    case $option in
    --[a-z]*=*) # as two words, where its first part is an option with a value
      case ${option%%=*} in
      --wheel | --wheelhouse | --extras | --model | --name | --source | --source-file | --config | --wait)
        set -- "${option%%=*}" "${option#*=}" "${@:2}"
        option=$1
        ;;
      esac
      ;;
    esac
    case $option in
    --help | -h) usage && exit 0 ;;
    --no-start) start='' ;;
    --uninstall) uninstall=yes ;;
    --purge) purge=yes ;;
    --until-eof) until_eof=yes ;;
    --wheel | --wheelhouse | --extras | --model | --name | --source | --source-file | --config | --wait)
      [ $# -ge 2 ] || die 2 "$option must be followed by a value; received none: type install.sh --help"
      valued+=("$option")
      show "$2"
      take "$option" "$2"
      shift
      ;;
    *) show "$option" && die 2 "options must be among those of install.sh --help; received '$shown'" ;;
    esac
    shift
  done
  [ -z "$purge" ] || [ -n "$uninstall" ] || die 2 "--purge goes with --uninstall; received it alone: add --uninstall"
  [ -z "$uninstall" ] || [ -z "$named" ] || die 2 "--uninstall removes all services; received --name $name too:" \
    "leave it out, or for one of them type sudo systemctl disable --now edgecnn@$name"
  [ -z "$uninstall" ] || [ ${#valued[@]} = 0 ] ||
    die 2 "--uninstall goes with --purge only; received ${valued[*]} too: leave it out"
  [ -z "$config" ] || [ ${#sources[@]} = 0 ] ||
    die 2 "sources are named by --config or by --source; received both: leave one out"
}

take() {
  case $1 in
  --wheel) find_file "$@" && wheel=$file ;;
  --model) if [[ ! -e $2 && $2 =~ ^[a-z0-9_-]+$ ]]; then bundled=$2; else find_file "$@" && model=$file bundled=''; fi ;;
  --config) find_file "$@" && config=$file ;;
  --wheelhouse)
    [ -d "$2" ] || die 3 "--wheelhouse must be a folder of wheels; received '$shown': name one"
    wheelhouse=$(readlink -f -- "$2")
    ;;
  --source)
    [[ $2 != *$'\n'* && $2 == *[![:space:]]* ]] || die 2 "--source must be one line of text; received '$shown': test:"
    sources+=("$2")
    ;;
  --source-file) find_file "$@" && read_sources ;;
  --extras)
    [[ $2 =~ ^[a-z]+(,[a-z]+)*$ ]] || die 2 "--extras must be names joined by commas; received '$shown': cpu,video"
    extras=$(sorted_extras "$2")
    ;;
  --name)
    [[ $2 =~ ^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$ ]] || # no dot: edgecnn@door.socket is no service
      die 2 "--name must be letters, digits, _ and -, the first a letter or digit; received '$shown': $(valid_name)"
    name=$2 named=yes
    ;;
  --wait)
    [[ $2 =~ ^[0-9]{1,5}$ ]] || die 2 "--wait must be a whole number of seconds; received '$shown': 120"
    wait_s=$((10#$2))
    ;;
  esac
}

# A name that is like what was typed.
valid_name() {
  local made
  made=$(LC_ALL=C tr -cs 'A-Za-z0-9_-' - <<<"${shown:0:64}")
  while [[ $made == [-_]* ]]; do made=${made:1}; done
  while [[ $made == *- ]]; do made=${made%-}; done
  printf '%s' "${made:-camera}"
}

read_sources() {
  local line lines before=${#sources[@]}
  [ "$(stat -c %s -- "$file")" -le 65536 ] ||
    die 3 "--source-file must be a text of at most 64 KB; received '$shown': name another file"
  mapfile -t lines <"$file"
  for line in "${lines[@]}"; do
    line=${line#$'\xef\xbb\xbf'} # editors under Windows mark a file so, and its line ends
    line=${line%$'\r'}
    [[ $line =~ ^[[:space:]]*$ ]] || sources+=("$line")
  done
  [ ${#sources[@]} -gt "$before" ] ||
    die 2 "--source-file must have a source in each line; received '$shown', which has none: write test: into it"
}

find_file() {
  [[ -f $2 && -r $2 ]] || die 3 "$1 must name a file that can be read; received '$shown': check it"
  file=$(readlink -f -- "$2")
}

check_machine() {
  local architecture bits
  architecture=$(dpkg --print-architecture 2>/dev/null || true)
  bits=$(getconf LONG_BIT 2>/dev/null || true)
  case $bits,$architecture in
  32,* | *,armhf | *,armel | *,i386)
    die 3 "a 64-bit system is needed, since there is no ONNX Runtime for 32-bit ones; the programs of this one are" \
      "${architecture:-32-bit} (the kernel says $(uname -m)): on a Raspberry Pi 3, 4, 5 or Zero 2 W flash the 64-bit" \
      "Raspberry Pi OS; older ones are 32-bit only"
    ;;
  esac
  [ -n "$root" ] || [ "$(id -u)" = 0 ] || die 3 "install.sh must run as root; it runs as $(id -un): sudo bash install.sh …"
  command -v systemctl >/dev/null ||
    die 3 "a system that is started by systemd is needed; there is no systemctl here: use Raspberry Pi OS or Debian, or" \
      "install the wheel by hand and start 'edgecnn predict --config FILE.toml' by other means"
  [ -z "$start" ] || systemctl show -p Version --value >/dev/null 2>&1 ||
    die 3 "systemd must run as the first process; here it does not, as in a container or a chroot: add --no-start"
}

check_python() {
  local found
  found=$("$python" -I -c 'import struct, sys; print("%d.%d" % sys.version_info[:2], 8 * struct.calcsize("P"))' \
    2>/dev/null) || die 3 "Python must be 3.11 or newer; there is no python3 that runs here: sudo apt install python3"
  "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die 3 "Python must be 3.11 or newer; python3 is ${found% *}: upgrade to Raspberry Pi OS or Debian 12, or newer"
  [ "${found#* }" = 64 ] || die 3 "Python must be a 64-bit program; python3 is not: install the 64-bit system"
  has_venv || {
    say "installing python3-venv, which makes virtual environments"
    apt_install python3-venv || true
    has_venv ||
      die 3 "python3 must be able to make virtual environments, and apt-get could not install what it lacks:" \
        "sudo apt update && sudo apt install -y python3-venv"
  }
}

has_venv() { "$python" -I -c 'import ensurepip, venv' 2>/dev/null; }

apt_install() {
  command -v apt-get >/dev/null || return 1
  local install=(timeout 600 apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=120 "$@")
  patiently "${install[@]}" || { patiently timeout 300 apt-get update -q && patiently "${install[@]}"; }
}

check_room() {
  local needed=350 free
  [[ $extras != *video* ]] || needed=500
  free=$(free_mb)
  [ "$free" -ge "$needed" ] ||
    die 3 "$needed MB of free disk are needed in /opt; there are $free MB: free some (sudo apt clean), or use a larger card"
}

free_mb() { df -Pk -- "$opt" | awk 'NR == 2 { print int($(NF - 2) * 1.024 / 1000) }'; }

check_camera() {
  case " $needs " in *' pi '*) ;; *) return 0 ;; esac
  ! command -v rpicam-vid >/dev/null && ! command -v libcamera-vid >/dev/null || return 0
  say "installing rpicam-apps-lite, which reads the camera"
  apt_install rpicam-apps-lite ||
    die 3 "the source pi: needs rpicam-vid, and apt-get could not install it: sudo apt update && sudo apt install -y" \
      "rpicam-apps-lite. Only Raspberry Pi OS has it; on another system name a webcam: --source usb:0"
}

# In a place that nobody removes, so that all who wait, wait for the same.
lock() {
  mkdir -p -- "$root/run" # not in run/lock, where anybody may write
  exec 9>"$root/run/edgecnn-install.lock"
  flock -w 60 9 || die 3 "one installation can run at a time, and another one does: try again when it is done"
}

open_scratch() {
  local one
  lock
  check_places
  for one in "$etc" "$opt/models" "$units/edgecnn@.service.d" "$opt"; do [ -e "$one" ] || absent+=("$one"); done
  writes "$opt" mkdir -p -- "$opt"
  rm -rf -- "$opt"/.install.*
  scratch=$(mktemp -d -- "$opt/.install.XXXXXX")
  chmod 755 "$scratch"
  export TMPDIR=$scratch # /tmp may be in memory, and small
}

# Where a folder goes there must be no file, and where a file goes no folder.
check_places() {
  local one files=("$units/edgecnn@.service" "$units/edgecnn@.service.d/backoff.conf")
  [ -z "$instance" ] || files+=("$opt/models/$name.onnx" "$etc/$name.toml")
  for one in "$opt" "$opt/models" "$etc" "$units" "$units/edgecnn@.service.d" "${program%/*}"; do
    [ ! -L "$one" ] || [ -e "$one" ] ||
      die 3 "$one must be a folder; it is a link to $(readlink -- "$one"), which is not there: mount that, or sudo rm $one"
    [ -d "$one" ] || [ ! -e "$one" ] || die 3 "$one must be a folder; there is a file: sudo mv $one $one.old"
  done
  for one in "${files[@]}"; do
    [ ! -d "$one" ] || [ -L "$one" ] || die 3 "$one must be a file; there is a folder: sudo mv $one $one.old"
  done
  [ -L "$opt/venv" ] || [ ! -e "$opt/venv" ] ||
    die 3 "$opt/venv must be a link, which install.sh sets; there is another thing: sudo mv $opt/venv $opt/venv.old"
}

# Runs what writes below a folder; that there is no room is told as what it is.
writes() {
  local told
  ! told=$("${@:2}" 2>&1) || return 0
  case $told in *'No space left on device'* | *'Disk quota exceeded'*) no_room "$1" ;; esac
  say "$told"
  return 1
}

no_room() {
  die 3 "there must be room on the disk of $1; it is full: free some space (sudo apt clean), then start it again"
}

# The configuration, in $scratch/config.toml; sets $needs to what its sources need: pi, video.
make_config() {
  local kind=config given=${config:-$etc/$name.toml}
  if [ -z "$config" ] && { [ ${#sources[@]} -gt 0 ] || [ ! -e "$given" ]; }; then
    [ ${#sources[@]} -gt 0 ] || sources=(pi)
    kind=sources given=$scratch/sources
    writes "$opt" put_lines "$given" "${sources[@]}"
  fi
  writes "$opt" put_lines "$scratch/config.toml"
  needs=$(from_wheel 'from edgecnn_deploy.settings import make; make()' "$kind" "$given" \
    "/opt/edgecnn/models/$name.onnx" "$etc/$name.toml" "$scratch/config.toml") || {
    code=$? died=yes
    exit "$code"
  }
}

# For root only.
put_lines() { (umask 077 && printf '%s\n' "${@:2}" >"$1"); }

# One environment serves all: what it has it keeps, and it gets what any configuration that is there needs.
gather_extras() {
  [ -z "$extras" ] || return 0
  local used others
  used=$(cat "$opt/venv/.extras" 2>/dev/null || echo cpu)
  others=$(from_wheel 'from edgecnn_deploy.settings import others; others()' "$etc" "$instance")
  case " $needs $others " in *' video '*) used+=,video ;; esac
  extras=$(sorted_extras "$used")
}

sorted_extras() { tr ',' '\n' <<<"$1" | sort -u | paste -sd ,; }

# Runs a line of Python with edgecnn out of the wheel, and no other one that may be installed.
from_wheel() { "$python" -I -S -B -c "$in_wheel; $1" "$wheel" "${@:2}"; }

# The model of a name lies in the wheel.
unpack_model() {
  local names told
  model=$scratch/.bundled.onnx
  told=$(from_wheel 'import pkgutil
sys.stdout.buffer.write(pkgutil.get_data("edgecnn", f"models/{sys.argv[1]}.onnx"))' "$bundled" 2>&1 >"$model") || {
    case $told in *'No space left on device'* | *'Disk quota exceeded'*) no_room "$opt" ;; esac
    names=$(from_wheel 'import re, zipfile
print(*re.findall(r"edgecnn/models/(\S+)\.onnx", " ".join(zipfile.ZipFile(sys.argv[1]).namelist())), sep=", ")' "$wheel")
    die 3 "--model must name a file, or a model that comes with edgecnn; received '$bundled': name one of $names"
  }
}

find_wheel() {
  local found=()
  if [ -n "$wheel" ]; then
    found=("$wheel")
  elif [ -n "$wheelhouse" ]; then
    found=("$wheelhouse"/edgecnn-*.whl)
    [ ${#found[@]} != 0 ] || die 3 "the wheelhouse must hold a wheel of edgecnn; $wheelhouse holds none: add --wheel FILE"
  else
    found=("$here"/edgecnn-*.whl)
    [ ${#found[@]} != 0 ] || { fetch_wheel && found=("$scratch"/wheel/edgecnn-*.whl); }
  fi
  [ ${#found[@]} = 1 ] || die 2 "one wheel of edgecnn must be there to install; received ${found[*]##*/}: add --wheel FILE"
  wheel=${found[0]}
  [[ ${wheel##*/} =~ ^edgecnn-([A-Za-z0-9.+_]+)-py3-none-any\.whl$ ]] ||
    die 3 "--wheel must be edgecnn-VERSION-py3-none-any.whl; received '${wheel##*/}': name the file as it was built"
  version=${BASH_REMATCH[1]}
  ln -s -- "$(readlink -f -- "$wheel")" "$scratch/${wheel##*/}"
  wheel=$scratch/${wheel##*/} # in a path of the user's may be what pip takes for a marker or an extra
  from_wheel 'from edgecnn_deploy.settings import others' 2>/dev/null ||
    die 3 "--wheel must be whole, and of this edgecnn or a newer one; ${wheel##*/} is not: build it again"
}

fetch_wheel() {
  say "asking the package index for edgecnn"
  patiently "$python" -m venv "$scratch/fetch" || pip_failed "a virtual environment must be made in $opt; see above"
  patiently "$scratch/fetch/bin/pip" download --no-deps --only-binary :all: -d "$scratch/wheel" edgecnn ||
    pip_failed "edgecnn must be on a package index, or be given as a file; pip found none: in a checkout of edgecnn" \
      "type pip wheel --no-deps -w dist . and add --wheel dist/edgecnn-….whl"
}

# An environment is named after all that goes into it.
name_venv() {
  local sum
  sum=$({ sha256sum <"$wheel" && echo "$extras" && "$python" -V; } | sha256sum)
  venv=venv-$version-${sum:0:8}
}

pip_failed() {
  tail -n 6 "$scratch/log" >&2 || true
  if grep -qi 'no space left' "$scratch/log" || [ "$(free_mb)" -lt 30 ]; then
    die 3 "there must be room on the disk; it is full: free some (sudo apt clean), or use a larger card"
  fi
  die 3 "$*"
}

make_venv() {
  local index=() remedy="check the network, or give --wheelhouse DIR"
  [ ! -e "$opt/$venv/.whole" ] || return 0
  check_room
  say "installing edgecnn $version [$extras]: a minute or a few"
  rm -rf -- "${opt:?}/$venv"
  made_venv=yes
  mkdir -- "$opt/$venv"
  : >"$opt/$venv/.whole.partial" # its mark, should nothing be able to end in order
  patiently "$python" -m venv "$opt/$venv" || pip_failed "a virtual environment must be made in $opt; that failed: see above"
  if [ -n "$wheelhouse" ]; then
    ln -s -- "$wheelhouse" "$scratch/wheelhouse"
    index=(--no-index --find-links "$scratch/wheelhouse") remedy="put into $wheelhouse what is told above"
  fi
  patiently "$opt/$venv/bin/pip" install "${index[@]}" --only-binary :all: "${wheel}[$extras]" ||
    pip_failed "the packages that edgecnn needs must be found; pip failed: $remedy"
  ! grep "does not provide the extra" "$scratch/log" >&2 ||
    die 2 "--extras must be among those of edgecnn, as told above; received '$extras': cpu,video"
  printf '%s\n' "$extras" >"$opt/$venv/.extras"
  "$opt/$venv/bin/python" -I -c 'import edgecnn_deploy as it; print(it.__path__[0])' >"$opt/$venv/.whole.partial"
  sync -f "$opt/$venv"
  mv -- "$opt/$venv/.whole.partial" "$opt/$venv/.whole"
}

# The edgecnn that is to read the configuration knows every key in it, and takes its values.
check_config() {
  local told result=0 where=--config
  [ -n "$config" ] || where=$etc/$name.toml
  told=$("$opt/$venv/bin/python" -I -B -c 'from edgecnn_deploy.settings import checked; checked()' \
    "$scratch/config.toml" 2>&1) || result=$?
  case $result in
  0) ;;
  2 | 3) die "$result" "${told//"$scratch/config.toml"/$where}" ;;
  *) say "$told" && die 3 "edgecnn must run on this machine; it ended with $result, as told above; nothing was changed" ;;
  esac
}

# The new environment runs here, and the model computes here what it computed where it was exported.
self_test() {
  local result=0
  [ -z "$model" ] || writes "$opt" install -m 644 -- "$model" "$scratch/$name.onnx"
  cd -- "$scratch"
  patiently as_user "$opt/$venv/bin/python" -I -c '
import sys
from edgecnn import Classifier
from edgecnn.errors import EdgecnnError
from edgecnn.session import load_onnxruntime
try:
    load_onnxruntime()
    for path in sys.argv[1:]:
        Classifier(path).close()
except EdgecnnError as error:
    print(error)
    sys.exit(error.exit_code)
' ${model:+"$name.onnx"} || result=$?
  cd /
  [ "$result" != 0 ] || return 0
  tail -n 6 "$scratch/log" >&2 || true
  [ "$result" -lt 128 ] || die 4 "the model must load on this processor; that crashed (signal $((result - 128))): use another"
  [ "$result" != 4 ] || die 4 "the model is refused on this machine, as told above; nothing was changed"
  die 3 "edgecnn must run on this machine; it ended with $result, as told above; nothing was changed"
}

as_user() {
  [ -z "$root" ] || exec "$@"
  exec setpriv --reuid edgecnn --regid edgecnn --init-groups -- env -i HOME=/nonexistent PATH="$PATH" "$@"
}

make_user() {
  [ -z "$root" ] || return 0
  local group
  id edgecnn >/dev/null 2>&1 || {
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin edgecnn
    made_user=yes
  }
  for group in video render; do
    ! getent group "$group" >/dev/null || id -nG edgecnn | grep -qw "$group" || usermod -aG "$group" edgecnn
  done
}

# Each prepares a file beside its place, and does nothing where the same is there.
put_file() {
  ! cmp -s -- "$1" "$2" || return 0
  writes "${2%/*}" mkdir -p -- "${2%/*}"
  writes "${2%/*}" install -m "$3" -- "$1" "$(partial "$2")"
  [ "$3" != 640 ] || [ -n "$root" ] || chown root:edgecnn "$(partial "$2")"
  pending+=("$2")
}

put_link() {
  [ "$(readlink -- "$2" || true)" != "$1" ] || return 0
  writes "${2%/*}" mkdir -p -- "${2%/*}"
  writes "${2%/*}" ln -sfn -- "$1" "$(partial "$2")"
  pending+=("$2")
}

partial() { printf '%s/.%s.partial' "$(dirname -- "$1")" "$(basename -- "$1")"; }

prepare() {
  local files manager
  pending=()
  files=$(cat "$opt/$venv/.whole")
  manager=$(systemctl --version 2>/dev/null | awk 'NR == 1 { print int($2) }')
  put_file "$files/edgecnn@.service" "$units/edgecnn@.service" 644
  [ "${manager:-0}" -lt 254 ] || put_file "$files/backoff.conf" "$units/edgecnn@.service.d/backoff.conf" 644
  [ -z "$model" ] || put_file "$scratch/$name.onnx" "$opt/models/$name.onnx" 644
  [ -z "$instance" ] || put_file "$scratch/config.toml" "$etc/$name.toml" 640
  put_link "$venv" "$opt/venv"
  if own_program; then
    put_link "$opt/venv/bin/edgecnn" "$program"
  else
    say "note: $program is a program of its own and stays; the service's is $opt/venv/bin/edgecnn"
  fi
  sync -f "$opt"
}

# Whether the program's name is free, or a link that leads to what install.sh has put there.
own_program() {
  [ -L "$program" ] || { [ ! -e "$program" ] && return; }
  [[ $(readlink -- "$program") == "$opt"/* || $(readlink -m -- "$program") == "$(readlink -m -- "$opt")"/* ]]
}

switch_over() {
  local place
  for place in "${pending[@]}"; do
    [[ ! -e $place && ! -L $place ]] || writes "$opt" cp -a -- "$place" "$scratch/before.${#places[@]}"
    places+=("$place")
    switched=yes
    writes "${place%/*}" mv -fT -- "$(partial "$place")" "$place"
  done
}

running() { systemctl is-active --quiet "edgecnn@$1"; }

# Names of the services that run, in lines.
running_names() {
  systemctl list-units --plain --no-legend --full --state=active,activating,reloading 'edgecnn@*.service' |
    sed -n 's/^edgecnn@\(.*\)\.service .*/\1/p'
}

# Restarts what must read something new, and waits for the labels of those that had some.
restart() {
  local one all=()
  mapfile -t active < <(running_names)
  for one in "${active[@]}"; do
    [ "$one" = "$instance" ] || [[ $(status_of "$one") =~ $first_label ]] && had_labels+=("$one")
    [ "$one" = "$instance" ] || [[ " ${pending[*]} " != *" $opt/venv "* ]] || all+=("$one")
  done
  [ -z "$instance" ] || all+=("$instance")
  switch_over
  systemctl daemon-reload
  for one in "${all[@]}"; do
    restarted+=("$one")
    systemctl stop "edgecnn@$one"
    systemctl start --no-block "edgecnn@$one"
  done
  for one in "${all[@]}"; do
    [[ " $instance ${had_labels[*]} " != *" $one "* ]] || [ "$wait_s" = 0 ] || await_label "$one"
  done
}

enable() {
  systemctl is-enabled --quiet "edgecnn@$instance" 2>/dev/null || {
    enabled=yes
    systemctl enable --quiet "edgecnn@$instance" >&2
  }
}

status_of() { systemctl show -p StatusText --value "edgecnn@$1" || true; }

# Waits for the first label, and ends with code 5 where none comes.
await_label() {
  local deadline=$((SECONDS + wait_s)) status=''
  say "waiting for the first label of edgecnn@$1, for $wait_s s at most"
  while [ "$SECONDS" -lt "$deadline" ]; do
    status=$(status_of "$1")
    [[ ! $status =~ $first_label ]] || { settle "$1" "$status" && return; }
    ! hopeless "$1" || break
    sleep 0.3
  done
  journalctl -u "edgecnn@$1" -n 12 --no-pager -o cat >&2 2>/dev/null || true
  status=${status:-"nothing, and ended with code $(systemctl show -p ExecMainStatus --value "edgecnn@$1")"}
  die 5 "edgecnn@$1 must give its first label within $wait_s s, and go on; it did not, and says: $status." \
    "Correct that, or where the camera is not there yet add --wait 0"
}

# Lets it run until it tells of itself again: figures of the first picture alone say little.
settle() {
  local n now=''
  for ((n = 0; n < 30; n++)); do
    sleep 0.2
    now=$(status_of "$1")
    [[ $now =~ $first_label ]] || return 1
    [ "$now" = "$2" ] || break
  done
  running "$1"
}

# Whether it ended in a way that no new start mends: an option without meaning, or a model that is refused.
hopeless() {
  [ "$(systemctl show -p ActiveState --value "edgecnn@$1")" != failed ] || return 0
  [ "$(systemctl show -p SubState --value "edgecnn@$1")" = auto-restart ] || return 1
  case $(systemctl show -p ExecMainStatus --value "edgecnn@$1") in 2 | 4) ;; *) return 1 ;; esac
}

finish() {
  code=$?
  exec >&3 2>&4 # a signal may have come while either led elsewhere
  local one
  trap '' HUP INT TERM
  set +e
  if [ "$code" -ge 128 ]; then
    say "error: it must run to its end; it was cut off (signal $((code - 128))): start it again"
  elif [ "$code" != 0 ] && [ -z "$died" ] && full; then
    (no_room "$place") || code=$?
  elif [ "$code" != 0 ] && [ -z "$died" ]; then
    say "error: everything it does must succeed; a command failed, as told above: correct that, and start it again"
  fi
  [ -z "$watcher" ] || kill "$watcher" 2>/dev/null
  [ -z "$child" ] || { kill -- "-$child" && wait "$child"; } 2>/dev/null
  if [ "$code" != 0 ]; then
    [ -z "$switched" ] || go_back
    [ -z "$scratch" ] || remove_partial
    [ -z "$made_venv" ] || [ "$(readlink -- "$opt/venv")" = "$venv" ] || rm -rf -- "${opt:?}/$venv"
    [ -z "$made_user" ] || userdel edgecnn
    [ "$state" = rolled-back ] || state=failed
    printf 'state=%s\n' "$state"
  fi
  if [ -n "$scratch" ]; then
    rm -rf -- "$scratch"
    for one in "${absent[@]}"; do rmdir -- "$one" 2>/dev/null; done
  fi
  exit "$code"
}

# Whether a disk that is written to has no room left; sets $place.
full() {
  for place in "$opt" "$etc" "$units"; do
    [ ! -d "$place" ] || [ "$(df -Pk -- "$place" | awk 'NR == 2 { print int($(NF - 2)) }')" -gt 64 ] || return 0
  done
  return 1
}

go_back() {
  local one n
  say "going back to what was there before"
  for one in "${restarted[@]}"; do systemctl stop "edgecnn@$one"; done
  [ -z "$enabled" ] || systemctl disable "edgecnn@$instance" 2>/dev/null
  for ((n = ${#places[@]} - 1; n >= 0; n--)); do
    if [ -e "$scratch/before.$n" ] || [ -L "$scratch/before.$n" ]; then
      mv -fT -- "$scratch/before.$n" "${places[n]}" || say "error: ${places[n]} could not be put back"
    else
      rm -f -- "${places[n]}"
    fi
  done
  [ -z "$start" ] || systemctl daemon-reload
  state=rolled-back
  for one in "${active[@]}"; do
    systemctl start --no-block "edgecnn@$one"
    for ((n = 0; n < 50; n++)); do
      ! running "$one" || break
      sleep 0.2
    done
    if running "$one"; then say "edgecnn@$one runs again, as before"; else say "edgecnn@$one starts again, as before"; fi
  done
}

# Files that were prepared and not put in place.
remove_partial() {
  rm -f -- "$opt"/.venv.partial "$opt"/models/.*.partial "$etc"/.*.partial "$units"/.edgecnn@*.partial \
    "$units"/edgecnn@.service.d/.*.partial "$(partial "$program")"
}

# Environments that install.sh has made, but for the one of a name. What else has a name like theirs is the user's.
remove_venvs() {
  local one
  for one in "$opt"/venv-*; do
    if [ "${one##*/}" != "$1" ] && [ ! -L "$one" ] && { [ -e "$one/.whole" ] || [ -e "$one/.whole.partial" ]; }; then
      rm -rf -- "$one"
    fi
  done
}

report() {
  printf 'state=%s\nversion=%s\n' "$state" "$version"
  [ -n "$instance" ] && [ -n "$start" ] || return 0
  local status bytes pid
  status=$(status_of "$instance")
  if [[ $status =~ $first_label ]]; then
    local label=${BASH_REMATCH[1]} score=${BASH_REMATCH[2]}
    [[ $label != *'lost: '* ]] || label=${label##*; }
    printf 'label=%s\nscore=%s\n' "$label" "$score"
  fi
  [[ ! $status =~ p50\ ([0-9.,]+),\ p90 ]] || printf 'latency_ms=%s\n' "${BASH_REMATCH[1]//,/}"
  bytes=$(systemctl show -p MemoryCurrent --value "edgecnn@$instance" || true)
  if [[ ! $bytes =~ ^[0-9]{1,15}$ ]]; then # Raspberry Pi OS does not count it: the most it has been
    pid=$(systemctl show -p MainPID --value "edgecnn@$instance" || true)
    bytes=$(awk '/^VmHWM:/ { print $2 * 1024 }' "/proc/${pid:-0}/status" 2>/dev/null || true)
  fi
  [ -z "$bytes" ] || printf 'memory_mb=%s\n' "$((bytes / 1000000))"
  awk '{ printf "temperature_c=%.0f\n", $1 / 1000 }' "$root/sys/class/thermal/thermal_zone0/temp" 2>/dev/null || true
}

install_all() {
  needs='' had_labels=() instance=''
  [ -z "$model$bundled$config${sources[*]}" ] || instance=$name
  [ -z "$instance" ] || model=${model:-$opt/models/$name.onnx}
  [ -z "$instance" ] || [ -n "$bundled" ] || [ -f "$model" ] ||
    die 2 "--model must name the .onnx file of a new service; received none, and there is no $opt/models/$name.onnx"
  check_machine
  open_scratch
  check_python
  find_wheel
  [ -z "$bundled" ] || unpack_model
  [ -z "$instance" ] || make_config
  gather_extras
  check_camera
  name_venv
  make_user
  make_venv
  [ -z "$instance" ] || check_config
  self_test
  prepare
  if [ ${#pending[@]} = 0 ] && { [ -z "$instance" ] || [ -z "$start" ] || running "$instance"; }; then
    say "all of this is there already; nothing was changed"
    state=unchanged
    [ -z "$instance" ] || [ -z "$start" ] || [ "$wait_s" = 0 ] || [[ $(status_of "$instance") =~ $first_label ]] ||
      await_label "$instance"
  else
    state=installed
    if [ -n "$start" ]; then restart; else switch_over; fi
  fi
  [ -z "$instance" ] || enable
  switched=''
  remove_partial
  [ -z "$start" ] || remove_venvs "$venv"
  report
}

uninstall_all() {
  check_machine
  lock # before it is looked at what is there: an installation that is at work makes more
  local one names=() link
  mapfile -t names < <(systemctl list-units --all --plain --no-legend --full 'edgecnn@*.service' 2>/dev/null |
    sed -n 's/^edgecnn@\(.*\)\.service .*/\1/p')
  for link in "$units"/*.wants/edgecnn@*.service; do
    [ ! -L "$link" ] || { one=${link##*/edgecnn@} && names+=("${one%.service}"); }
  done
  state=unchanged
  [ ! -e "$opt/venv" ] && [ ! -e "$units/edgecnn@.service" ] || state=uninstalled
  for one in "${names[@]}"; do
    systemctl disable --now "edgecnn@$one" >/dev/null 2>&1 || say "note: edgecnn@$one could not be disabled"
  done
  remove_venvs ''
  remove_partial
  rm -rf -- "$opt"/.install.*
  [ ! -L "$opt/venv" ] || rm -f -- "$opt/venv"
  rm -f -- "$units/edgecnn@.service" "$units/edgecnn@.service.d/backoff.conf"
  rmdir -- "$units/edgecnn@.service.d" 2>/dev/null || true
  ! own_program || rm -f -- "$program"
  [ -z "$start" ] || systemctl daemon-reload
  if [ -n "$purge" ]; then
    purge_all
  else
    tell_kept "$program" "$opt"/venv* "$units/edgecnn@.service.d"
    rmdir -- "$opt" 2>/dev/null || true
    say "edgecnn is removed; models are still in $opt/models, configurations in $etc (--purge removes them)"
  fi
  printf 'state=%s\n' "$state"
}

# Models, configurations, and what services have written, also where a link leads to another disk.
purge_all() {
  local one files=("$etc"/*.toml) data=$root/var/lib/edgecnn
  files+=("$opt"/models/*.onnx)
  for one in "${files[@]##*/}"; do names+=("${one%.*}"); done
  for one in "${names[@]}"; do
    [[ ! $one =~ ^[A-Za-z0-9][A-Za-z0-9_-]*$ ]] || rm -rf -- "${data:?}/$one"
  done
  for one in "${files[@]}"; do [ -d "$one" ] || rm -f -- "$one"; done
  [ -L "$data" ] || rm -rf -- "$data"
  rmdir -- "$opt/models" "$opt" "$etc" 2>/dev/null || true
  [ -n "$root" ] || ! id edgecnn >/dev/null 2>&1 || userdel edgecnn
  tell_kept "$program" "$opt" "$etc" "$data" "$units/edgecnn@.service.d"
  say "edgecnn, its models, configurations and user are removed"
}

# Of each place that is still there, why it stays.
tell_kept() {
  local one inside
  for one in "$@"; do
    if [ -d "$one" ]; then
      mapfile -t inside < <(ls -A -- "$one/")
      [ ! -L "$one" ] || say "note: $one is a link to $(readlink -- "$one"), and stays"
      [ ${#inside[@]} = 0 ] || say "note: what install.sh has not put into $one stays there: ${inside[*]:0:9}"
    elif [ -e "$one" ] || [ -L "$one" ]; then
      say "note: $one is not of install.sh, and stays"
    fi
  done
}

true 2>/dev/null 3>&1 || exec >/dev/null
true 3>&2 || exec 2>/dev/null
exec 3>&1 4>&2
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
shopt -s nullglob
[ -z "${EDGECNN_ROOT:-}" ] ||
  die 2 "an image is installed into from within; received EDGECNN_ROOT=$EDGECNN_ROOT: chroot DIR bash install.sh --no-start …"
parse_options "$@"
if [ -n "$until_eof" ]; then
  {
    while IFS= read -r _; do :; done
    kill -TERM "$$"
  } <&0 >/dev/null 2>&1 3>&1 4>&1 & # it must hold open nothing that ssh waits for
  watcher=$!
fi
exec </dev/null
if [ -n "$uninstall" ]; then uninstall_all; else install_all; fi
