#!/usr/bin/env bash
# The checks of the full system (scripts/pi --system), run by the guest as root: install.sh with the camera vivid, then
# everything that happens to a service in its life. What is to be told goes, a line a check, to a wire to the host.
#
# A check is a function that prints what it saw and returns 0, or 1 where that is not as it should be.
set -euo pipefail
export LC_ALL=C.UTF-8 HOME=/root SYSTEMD_COLORS=0 SYSTEMD_PAGER='' TERM=dumb

stick=/media/stick device=/dev/video0 service=edgecnn@camera notes=/var/lib/checks
camera='usb:0?format=yuyv422&size=320x180&fps=5' # vivid sends no JPEGs; small pictures, since all of it is emulated
model=/opt/edgecnn/models/camera.onnx
slow_s=600 # how long anything may take that a Pi does in seconds

tell() { printf '%s\n' "$*" >&3; }

check() { # WHAT FUNCTION [ARGUMENT]…
  local what=$1 seen
  shift
  if seen=$("$@" 2>&1); then
    tell "ok      $what: $(one_line "$seen")"
  else
    tell "failed  $what: $(one_line "$seen")"
    journalctl -u "$service" -n 15 -o short-monotonic --no-hostname | sed 's/^/        | /' >&3
  fi
}

one_line() { sed ':a; N; $!ba; s/\n/; /g' <<<"$1"; }

uptime_s() { cut -d. -f1 /proc/uptime; } # no clock: that is set while checks run

within() { # SECONDS COMMAND…: waits until the command succeeds
  local end=$(($(uptime_s) + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$(uptime_s)" -lt "$end" ] || return 1
    sleep 0.5
  done
}

# ── what is known of the service

of() { systemctl show -p "$1" --value "$service"; }
label() { of StatusText | sed -nE 's/^(.*; )?([^;]+) [01]\.[0-9]+( \(unknown\))?; [0-9,]+ labels so far.*/\2/p'; }
labels() { of StatusText | sed -nE 's/.*; ([0-9,]+) labels so far.*/\1/p' | tr -d ,; }
reconnects() { of StatusText | sed -nE 's/.*, ([0-9,]+) reconnects?,.*/\1/p; t; s/.*/0/p'; }
latency_ms() { of StatusText | sed -nE 's/.*capture to label p50 ([0-9.,]+),.*/\1/p' | tr -d ,; }
why_lost() { of StatusText | sed -E 's/; [^;]+; [0-9,]+ labels so far.*//'; }
is_active() { [ "$(of ActiveState)" = active ]; }
is_lost() { [[ $(of StatusText) == *lost:* ]]; }
control() { v4l2-ctl -d "$device" -c "$1=$2" >/dev/null; }
memory_peak() { cat "/sys/fs/cgroup$(of ControlGroup)/memory.peak"; }
mb() { awk -v bytes="$1" 'BEGIN { printf "%.1f MB", bytes / 1e6 }'; }

labels_come() { # fresh ones: more than there were
  local before
  before=$(labels)
  within "$slow_s" more_labels "${before:-0}"
}
more_labels() { [ "$(labels)" -gt "$1" ] 2>/dev/null; }
works() { is_active && ! is_lost && [ -n "$(label)" ]; }

mark() { # what must not change, or must
  of MainPID >"$notes/pid"
  of NRestarts >"$notes/restarts"
  journalctl -u "$service" -n 0 --show-cursor | sed -n 's/^-- cursor: //p' >"$notes/cursor"
}
journal() { journalctl -u "$service" -o cat --after-cursor="$(cat "$notes/cursor")"; }
same_process() { [ "$(of MainPID)" = "$(cat "$notes/pid")" ] && [ "$(of NRestarts)" = "$(cat "$notes/restarts")" ]; }
restarted() { [ "$(of NRestarts)" -gt "$(cat "$notes/restarts")" ]; }

# ── first boot

is_a_pi() {
  [ "$(cat /proc/1/comm)" = systemd ] && [ "$(uname -m)" = aarch64 ] || return 1
  echo "$(systemctl --version | head -n 1), Linux $(uname -r), $(python3 -V)," \
    "$(nproc) cores, $(awk '/^MemTotal/ { printf "%d MB", $2 / 1024 }' /proc/meminfo), no network"
}

has_camera() {
  within 60 test -c "$device" && echo "$device is $(v4l2-ctl -d "$device" --info | sed -n 's/^\tCard type *: //p')"
}

# A frame of each pattern, as v4l2-ctl reads it: what the labels of the service are compared with.
save_frames() {
  local pattern
  mkdir -p "$notes/frames"
  control osd_text_mode 2 && v4l2-ctl -d "$device" -v width=320,height=180,pixelformat=YUYV >/dev/null || return 1
  for pattern in 0 4 5 6 7 8 9 10 20; do
    control test_pattern "$pattern" &&
      v4l2-ctl -d "$device" --stream-mmap --stream-count=1 --stream-to="$notes/frames/$pattern.yuyv" >/dev/null 2>&1 &&
      [ "$(stat -c %s "$notes/frames/$pattern.yuyv")" = $((320 * 180 * 2)) ] || return 1
  done
  echo "9 patterns of 320x180 pixels"
}

install_sh() { bash "$stick/install.sh" --wheel "$stick"/edgecnn-*.whl --wheelhouse "$stick/wheels" "$@"; }

installs() {
  local began out
  began=$(uptime_s)
  out=$(install_sh --model "$stick/model.onnx" --source "$camera" --wait "$slow_s" 2>"$notes/story") ||
    { cat "$notes/story" && return 1; }
  [[ $out == *state=installed* && $out == *label=* ]] && echo "$out, after $(($(uptime_s) - began)) s"
}

is_installed() {
  systemctl is-enabled "$service" && systemctl is-active "$service" && id edgecnn | grep -q video &&
    edgecnn --version && grep -v "^#" /etc/edgecnn/camera.toml
}

installs_no_more() {
  local out
  mark
  out=$(install_sh --model "$stick/model.onnx" --source "$camera" 2>&1) || { echo "$out" && return 1; }
  [[ $out == *state=unchanged* ]] && same_process && grep "=" <<<"$out"
}

backs_off() {
  local version steps
  version=$(systemctl --version | awk 'NR == 1 { print $2 }')
  steps=$(of RestartSteps)
  if [ "$version" -ge 254 ]; then
    [ "$steps" = 6 ] && echo "RestartSteps=$steps RestartMaxDelayUSec=$(of RestartMaxDelayUSec)"
  else
    [ ! -e /etc/systemd/system/edgecnn@.service.d ] && echo "systemd $version cannot, and got no backoff.conf"
  fi
}

verifies() {
  local out
  out=$(systemd-analyze verify "$service.service" 2>&1) || { echo "$out" && return 1; }
  [ -z "$out" ] || { echo "$out" && return 1; }
  ! journalctl -b -o cat _PID=1 | grep -i 'edgecnn@.*\(unknown\|ignoring\|failed to parse\)' && echo "no complaint"
}

is_hardened() {
  local out
  out=$(systemd-analyze security --no-pager "$service" | tail -n 1)
  echo "${out#*: }" && awk '{ exit !($1 > 0 && $1 < 4) }' <<<"${out#*: }"
}

# One picture through the command line, as a user calls it: memory of the process, and of its control group.
predicts() {
  local out
  # shellcheck disable=SC2016 # what is quoted so is for the shell and the Python that are started
  out=$(systemd-run --wait --collect --pipe -q -p MemoryAccounting=yes bash -c 'python3 -c "$1" "${@:2}" &&
    echo "group=$(cat "/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/memory.peak")"' - \
    'import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print("process=%d" % (1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))' \
    edgecnn predict "$model" "$notes/frames/0.png" 2>"$notes/story") || { cat "$notes/story" && return 1; }
  echo "peak $(mb "$(sed -n 's/^process=//p' <<<"$out")") of the process," \
    "$(mb "$(sed -n 's/^group=//p' <<<"$out")") of its control group"
}

# Labels of the saved frames, from the pictures that the venv's NumPy and Pillow make of them (BT.601, as a webcam's).
foretells() {
  /opt/edgecnn/venv/bin/python - "$notes/frames" <<'END' || return 1
import sys
from pathlib import Path

import numpy as np
from PIL import Image

for file in Path(sys.argv[1]).glob("*.yuyv"):
    data = np.fromfile(file, np.uint8).reshape(180, 160, 4).astype(float)
    y = (data[..., 0::2].reshape(180, 320) - 16) * 255 / 219
    u, v = (np.repeat(data[..., channel] - 128, 2, axis=1) * 255 / 224 for channel in (1, 3))
    rgb = np.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], axis=-1)
    Image.fromarray(rgb.round().clip(0, 255).astype(np.uint8)).save(file.with_suffix(".png"))
END
  edgecnn predict "$model" "$notes"/frames/*.png -o "$notes/frames.jsonl" 2>"$notes/story" ||
    { cat "$notes/story" && return 1; }
  python3 - "$notes" <<'END'
import json
import sys
from pathlib import Path

notes = Path(sys.argv[1])
records = [json.loads(line) for line in (notes / "frames.jsonl").read_text().splitlines()]
sure = sorted((record["score"], record["label"], Path(record["source"]).stem) for record in records)
_, label, pattern = sure[-1]
others = [(other, number) for _, other, number in sure if other != label]
assert others, f"all patterns are {label}: the checks need a model that tells some apart"
chosen = [(pattern, label), (others[-1][1], others[-1][0])]
(notes / "expected").write_text("".join(f"{pattern} {label}\n" for pattern, label in chosen))
print(", ".join(f"pattern {pattern} is {label}" for pattern, label in chosen))
END
}

# ── second boot

starts_by_itself() {
  within "$slow_s" works || { of StatusText && return 1; }
  local boot first ready
  boot=$(systemctl show -p UserspaceTimestampMonotonic --value)
  first=$(of ExecMainStartTimestampMonotonic) ready=$(of ActiveEnterTimestampMonotonic)
  awk -v boot="$boot" -v first="$first" -v ready="$ready" 'BEGIN {
    printf "kernel %.1f s, then the service is started after %.1f s and has its first label after %.1f s more\n",
      boot / 1e6, (first - boot) / 1e6, (ready - first) / 1e6 }'
  within "$slow_s" systemd-analyze time && systemd-analyze time | head -n 1
}

sees() { # which label the camera's two patterns get
  local pattern expected
  control osd_text_mode 2 || return 1 # a counter in the picture makes labels flicker
  while read -r pattern expected; do
    control test_pattern "$pattern" || return 1
    within 120 has_label "$expected" || { echo "pattern $pattern must be $expected; it is $(label)" && return 1; }
    echo "pattern $pattern is $expected"
  done <"$notes/expected"
}
has_label() { [ "$(label)" = "$1" ]; }

has_memory() {
  local process
  process=$(awk '/^VmHWM:/ { print $2 * 1024 }' "/proc/$(of MainPID)/status")
  echo "peak $(mb "$process") of the process, $(mb "$(memory_peak)") of its control group, of MemoryMax" \
    "$(mb "$(of MemoryMax)"); $(of TasksCurrent) threads" && [ "$(memory_peak)" -lt "$(of MemoryMax)" ]
}

survives_kill() {
  mark
  kill -9 "$(of MainPID)" && within 60 restarted && within "$slow_s" works && labels_come && echo "$(label) again"
}

clock_jumps() { # BY: the clock is set, and nobody notices
  local before after
  labels_come && before=$(reconnects) && mark || return 1
  date -s "$1" >/dev/null && sleep 20 && labels_come || return 1
  after=$(latency_ms)
  echo "it is $(date '+%F %H:%M'); capture to label p50 $after ms, $before reconnects before and $(reconnects) after"
  same_process && ! is_lost && [ "$(reconnects)" = "$before" ] && ! journal | grep lost &&
    awk -v ms="$after" 'BEGIN { exit !(ms > 0 && ms < 5000) }'
}

unplugged() { # longer than the watchdog waits
  local began
  labels_come && mark && echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind || return 1
  began=$(uptime_s)
  within 60 is_lost || { of StatusText && return 1; }
  why_lost
  sleep $((85 - $(uptime_s) + began))
  is_lost && is_active && same_process && echo "after 85 s the same process is still there"
}

plugged_in() {
  local began
  began=$(uptime_s)
  echo vivid.0 >/sys/bus/platform/drivers/vivid/bind || return 1
  { within 120 works && labels_come; } || { of StatusText && return 1; }
  same_process && echo "labels again after $(($(uptime_s) - began)) s, from the same process"
}

hangs_a_little() {
  labels_come && mark && control percentage_of_dropped_buffers 100 && within 60 is_lost && why_lost || return 1
  sleep 12
  why_lost
  control percentage_of_dropped_buffers 0 && within 120 works && labels_come || return 1
  same_process && echo "the same process goes on"
}

hangs() {
  local began
  labels_come && mark && control percentage_of_dropped_buffers 100 || return 1
  began=$(uptime_s)
  within 240 restarted || { of StatusText && journal && return 1; }
  journal | grep -m 1 -i 'watchdog timeout' && echo "restarted $(($(uptime_s) - began)) s after the last frame" &&
    [ $(($(uptime_s) - began)) -ge 55 ]
}

hangs_still() { # a start that gets no frame is no start that succeeded
  sleep 45
  [ "$(of ActiveState)" = activating ] && why_lost
}

works_again() {
  local began
  began=$(uptime_s)
  control percentage_of_dropped_buffers 0 && within "$slow_s" works && labels_come &&
    echo "labels again after $(($(uptime_s) - began)) s: $(label)"
}

stops() {
  local began
  began=$(uptime_s)
  systemctl stop "$service" && [ "$(of Result)" = success ] && echo "within $(($(uptime_s) - began)) s" &&
    systemctl start "$service"
}

goes_back() { # a camera that is not there: the configuration stays as it was, and the service runs on
  local out code=0
  within "$slow_s" works || return 1
  out=$(install_sh --source 'usb:7' --wait 40 2>&1) || code=$?
  [ "$code" = 5 ] && grep -q usb:0 /etc/edgecnn/camera.toml && within "$slow_s" works && grep '^error\|^state' <<<"$out"
}

uninstalls() {
  local out
  out=$(bash "$stick/install.sh" --uninstall 2>&1) || { echo "$out" && return 1; }
  [[ $out == *state=uninstalled* ]] && [ ! -e /etc/systemd/system/edgecnn@.service ] &&
    [ -e "$model" ] && [ -e /etc/edgecnn/camera.toml ] && ! systemctl is-active --quiet "$service" && echo "$out"
}

purges() {
  local out
  out=$(bash "$stick/install.sh" --uninstall --purge 2>&1) || { echo "$out" && return 1; }
  [ ! -e /opt/edgecnn ] && [ ! -e /etc/edgecnn ] && [ ! -e /var/lib/edgecnn ] && ! id edgecnn 2>/dev/null && echo "$out"
}

# ── the two boots

phase_install() {
  check "Debian for arm64 runs, started by systemd" is_a_pi
  check "there is a camera" has_camera
  check "v4l2-ctl reads frames of it" save_frames
  check "install.sh installs, and waits for the first label" installs
  [ -e "$model" ] || return 0 # nothing more can be checked
  check "the service is enabled and runs, as a user of its own" is_installed
  check "install.sh a second time changes nothing" installs_no_more
  check "systemd-analyze verify finds nothing wrong with the unit" verifies
  check "systemd-analyze security" is_hardened
  check "the pauses between starts grow where systemd can do that" backs_off
  check "edgecnn predict says what the frames show" foretells
  check "edgecnn predict, one picture" predicts
}

phase_runs() {
  [ -e "$model" ] || return 0
  check "the service starts with the machine" starts_by_itself
  check "the camera's picture is what is labelled" sees
  check "memory of the service" has_memory
  check "kill -9: it is started anew" survives_kill
  check "the clock jumps five hours ahead" clock_jumps '5 hours'
  check "the clock jumps five hours back" clock_jumps '5 hours ago'
  check "the camera is unplugged: it is waited for, and the watchdog is quiet" unplugged
  check "the camera is plugged in again" plugged_in
  check "the camera hangs for some seconds: that is noticed, and no more" hangs_a_little
  check "the camera hangs: the watchdog (60 s) restarts the service" hangs
  check "the camera hangs still: the service does not count as started" hangs_still
  check "the camera works again" works_again
  check "systemctl stop" stops
  check "install.sh with a camera that is not there goes back" goes_back
  check "install.sh --uninstall keeps the user's files" uninstalls
  check "install.sh --uninstall --purge keeps nothing" purges
}

wire=/dev/virtio-ports/checks
until [ -e "$wire" ]; do sleep 0.2; done
exec 3>"$wire"
mkdir -p "$notes"
phase=$(sed -n 's/.*edgecnn.phase=\([a-z]*\).*/\1/p' /proc/cmdline)
"phase_$phase"
tell "done"
