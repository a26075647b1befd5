"""What install.sh refuses, and what it says to do about it, before anything is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from device import CHECKOUT, INSTALL, Device

DEEP = "\n".join(["[" * 4000] * 10)  # no line too long, and too deep for Python's parser


def refused(device: Device, code: int, *words: object, **environment: str) -> str:
    """What it says; nothing is left behind."""
    done = device.install(*words, **environment)
    assert (done.returncode, done.stdout) == (code, "state=failed\n"), done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert device.files() == {}
    return done.stderr


def test_shellcheck_finds_nothing() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", str(INSTALL)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("program", "says", "named"),
    [
        pytest.param("dpkg", "echo armhf", "armhf", id="32-bit programs on a 64-bit kernel"),
        pytest.param("getconf", "echo 32", "amd64", id="a 32-bit C library"),
    ],
)
def test_a_32_bit_system_is_refused_with_the_reason_and_the_remedy(
    device: Device, program: str, says: str, named: str
) -> None:
    device.tell(program, says)
    said = refused(device, 3)
    assert "a 64-bit system is needed, since there is no ONNX Runtime for 32-bit ones" in said
    assert f"the programs of this one are {named} (the kernel says" in said
    assert "flash the 64-bit Raspberry Pi OS" in said


def test_who_is_not_root_is_told_of_sudo(device: Device) -> None:
    device.tell("id", '[ "$1" = -u ] && echo 1000 || echo pi')
    done = device.install(EDGECNN_TEST_ROOT="")
    assert done.returncode == 3
    assert done.stderr == "error: install.sh must run as root; it runs as pi: sudo bash install.sh …\n"


def test_an_image_is_not_installed_into_from_outside(device: Device) -> None:
    assert "from within; received EDGECNN_ROOT=/mnt: chroot DIR bash install.sh --no-start" in refused(
        device, 2, EDGECNN_ROOT="/mnt"
    )


def test_without_systemd_at_work_it_can_be_prepared_only(device: Device) -> None:
    device.tell("systemctl", "echo 'System has not been booted with systemd' >&2; exit 1")
    assert "systemd must run as the first process; here it does not" in refused(device, 3)


@pytest.mark.parametrize(
    ("python", "says"),
    [
        ("case $* in *struct*) echo 3.9 64 ;; *) exit 1 ;; esac", "Python must be 3.11 or newer; python3 is 3.9"),
        ("exit 127", "there is no python3 that runs here: sudo apt install python3"),
        ("case $* in *struct*) echo 3.11 32 ;; esac", "Python must be a 64-bit program"),
    ],
)
def test_a_python_that_will_not_do_is_refused(device: Device, python: str, says: str) -> None:
    device.tell("python3", python)
    assert says in refused(device, 3)


def test_what_makes_virtual_environments_is_installed_or_said(device: Device, tmp_path: Path) -> None:
    python = (device.bin / "python3").read_text().splitlines()[-1]
    asked = tmp_path / "asked"
    device.tell("python3", f"[[ $* != *ensurepip* || -e {tmp_path}/there ]] || exit 1\n{python}")
    device.tell("apt-get", f'echo "$@" >>{asked}; exit 100')
    said = refused(device, 3)
    assert said.endswith("sudo apt update && sudo apt install -y python3-venv\n")
    assert [line.split()[0] for line in asked.read_text().splitlines()] == ["install", "update"]
    device.tell("apt-get", f'[[ $* != *"python3-venv" ]] || touch {tmp_path}/there')
    assert "the wheelhouse must hold a wheel of edgecnn" in refused(device, 3, "--wheelhouse", tmp_path), "it goes on"


def test_the_program_for_the_boards_own_camera_is_installed_or_said(
    device: Device, tmp_path: Path, wheelhouse: Path, models: dict[str, Path]
) -> None:
    device.tell("apt-get", f'echo "$@" >>{tmp_path}/asked; exit 100')
    said = refused(device, 3, "--wheelhouse", wheelhouse, "--model", models["good"])
    assert "the source pi: needs rpicam-vid" in said
    assert "on another system name a webcam: --source usb:0" in said
    assert "rpicam-apps-lite" in (tmp_path / "asked").read_text()


def test_a_disk_without_room_is_told_before_anything_is_installed(
    device: Device, wheelhouse: Path, models: dict[str, Path]
) -> None:
    device.tell("df", "echo Filesystem; echo /dev/root 900000 800000 100000 90% /")
    words = ["--wheelhouse", wheelhouse, "--model", models["good"], "--source"]
    assert "350 MB of free disk are needed in /opt; there are 102 MB" in refused(device, 3, *words, "test:")
    assert "500 MB of free disk" in refused(device, 3, *words, "usb:0"), "with what reads videos"


@pytest.mark.parametrize(
    ("place", "kind", "says"),
    [
        ("opt/edgecnn/models/door.onnx", "folder", "must be a file; there is a folder: sudo mv"),
        ("etc/edgecnn/door.toml", "folder", "must be a file; there is a folder: sudo mv"),
        ("etc/systemd/system/edgecnn@.service", "folder", "must be a file; there is a folder: sudo mv"),
        ("opt/edgecnn/venv", "folder", "must be a link, which install.sh sets; there is another thing: sudo mv"),
        ("opt/edgecnn", "file", "must be a folder; there is a file: sudo mv"),
        (
            "opt/edgecnn/models",
            "link",
            "must be a folder; it is a link to /no/such/disk, which is not there: mount that, or sudo rm",
        ),
        ("etc/edgecnn", "file", "must be a folder; there is a file: sudo mv"),
    ],
)
def test_what_is_in_the_place_of_something_else_is_refused_and_stays(
    device: Device, wheelhouse: Path, models: dict[str, Path], place: str, kind: str, says: str
) -> None:
    there = device.root / place
    there.parent.mkdir(parents=True)
    match kind:
        case "folder":
            there.mkdir()
        case "file":
            there.touch()
        case "link":
            there.symlink_to("/no/such/disk")
    before = device.files()
    done = device.install("--wheelhouse", wheelhouse, "--model", models["good"], "--name", "door", "--source", "test:")
    assert (done.returncode, done.stdout, device.files()) == (3, "state=failed\n", before)
    assert done.stderr == f"error: {there} {says} {there}{'' if kind == 'link' else f' {there}.old'}\n"
    assert there.is_symlink() or there.exists()


def test_one_that_is_cut_off_while_it_looks_into_a_wheel_says_so(device: Device, wheelhouse: Path) -> None:
    python = (device.bin / "python3").read_text().splitlines()[-1]
    device.tell("python3", f'[[ $* != *"import others "* ]] || kill -TERM $PPID\n{python}')
    assert refused(device, 143, "--wheelhouse", wheelhouse) == (
        "error: it must run to its end; it was cut off (signal 15): start it again\n"
    )


@pytest.mark.parametrize(
    ("name", "instead"),
    {
        "../x": "x",
        "-x": "x",
        "a b": "a-b",
        "": "camera",
        "a/b": "a-b",
        "x" * 65: "x" * 64,
        "ä": "camera",
        "x\ny": "x-y",
        "door.service": "door-service",
        "my door ": "my-door",
    }.items(),
)
def test_a_name_that_is_none_is_refused_and_one_like_it_proposed(device: Device, name: str, instead: str) -> None:
    rule = "error: --name must be letters, digits, _ and -, the first a letter or digit; received"
    assert refused(device, 2, "--name", name) == f"{rule} '{name.replace(chr(10), ' ')}': {instead}\n"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--modle", "x"], 2, "options must be among those of install.sh --help; received '--modle'"),
        (["--name"], 2, "--name must be followed by a value; received none"),
        (["--source", ""], 2, "--source must be one line of text; received ''"),
        (["--source", "test:\nusb:0"], 2, "--source must be one line of text"),
        (["--wait", "soon"], 2, "--wait must be a whole number of seconds; received 'soon'"),
        (["--extras", "cpu;id"], 2, "--extras must be names joined by commas; received 'cpu;id'"),
        (["--purge"], 2, "--purge goes with --uninstall"),
        (["--uninstall", "--name", "door"], 2, "removes all services; received --name door too: leave it out, or"),
        (["--source", "pi"], 2, "--model must name the .onnx file of a new service; received none"),
        (
            ["--uninstall", "--model", "digits", "--wait=3"],
            2,
            "goes with --purge only; received --model --wait too: leave",
        ),
        (["--uninstall", f"--config={INSTALL}"], 2, "goes with --purge only; received --config too: leave it out"),
        (["--source-file", "/dev/null"], 3, "--source-file must name a file that can be read; received '/dev/null'"),
        (["--source-file", "EMPTY"], 2, "must have a source in each line; received 'EMPTY', which has none: write"),
        (["--source=test:", "--source-file=EMPTY"], 2, "must have a source in each line; received 'EMPTY'"),
        (["--source-file", "LARGE"], 3, "--source-file must be a text of at most 64 KB; received 'LARGE'"),
        (["--purge=yes"], 2, "options must be among those of install.sh --help; received '--purge=yes'"),
        (["--name="], 2, "the first a letter or digit; received '': camera"),
        (["--model", "no.onnx"], 3, "--model must name a file that can be read; received 'no.onnx'"),
        (["--source-file", "/no/such"], 3, "--source-file must name a file that can be read; received '/no/such'"),
        (["--wheelhouse", "/no/such"], 3, "--wheelhouse must be a folder of wheels; received '/no/such'"),
        (["--config", str(INSTALL), "--source", "pi"], 2, "sources are named by --config or by --source"),
    ],
)
def test_words_without_meaning_are_refused(
    device: Device, words: list[str], code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("EMPTY").write_text("\ufeff\r\n \n")
    Path("LARGE").write_text("test:\n" * 20_000)
    said = refused(device, code, *words)
    assert says in said
    assert said.count("error: ") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--sourc=rtsp://u:geheim@cam/x"],
        ["rtsp://u:geheim@cam/x"],
        ["--name", "rtsp://u:geheim@cam/x"],
        ["--model", "rtsp://u:geheim@cam/x"],
        ["--config=rtsp://u:ge heim@cam/x"],
        ["--extras", "rtsp://u:ge@heim\udcff@cam/x"],
        ["--wait", "rtsp://u:ge'heim@cam/x"],
        ["--source", "rtsp://u:geheim@cam/x\nusb:0"],
        ["--source", "rtsp://u:ge\nheim@cam/x"],
    ],
)
def test_a_password_is_not_shown_where_it_is_refused(device: Device, words: list[str]) -> None:
    said = refused(device, 3 if words[0][:8] in ("--model", "--config") else 2, *words)
    assert "rtsp://***@cam/x" in said
    assert "ge" not in said.partition("received")[2]
    assert "heim" not in said


def test_a_model_that_is_neither_a_file_nor_a_name_is_refused(device: Device, wheelhouse: Path) -> None:
    said = refused(device, 3, "--wheelhouse", wheelhouse, "--model", "nope", "--source", "test:")
    names = ", ".join(sorted(path.stem for path in (CHECKOUT / "edgecnn/models").glob("*.onnx")))
    assert said == (
        f"error: --model must name a file, or a model that comes with edgecnn; received 'nope': name one of {names}\n"
    )


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("source = [", 2, "the configuration must be TOML"),
        ("top = 3\n", 2, 'in a line such as: source = ["pi"]'),
        (
            "source = 'pi'\nmodel = '/tmp/mine.onnx'\n",
            2,
            "the model of --config must be /opt/edgecnn/models/camera.onnx",
        ),
        ("\udcff", 2, "--config must be text in UTF-8"),
        (f"source = {DEEP}", 2, "the configuration must not be nested so deeply; received /FOLDER/my.toml: flatten it"),
        (
            f"{'a.' * 2048}a = 1",
            3,
            "of at most 64 KB with lines of at most 4,096 characters; received '/FOLDER/my.toml': shorten it",
        ),
        ("# x\n" * 20_000, 3, "of at most 64 KB with lines of at most 4,096 characters; received '/FOLDER/my.toml'"),
        ("source = 'test:'\n'rtsp://u:geheim@cam/x' = 1\n", 2, "received 'rtsp://***@cam/x'"),
        ("source = 'test:'\nmodle = 'x'\n", 2, "error: --config: keys must be among model, source, top, "),
        ("source = 'tset:'\n", 2, "error: the source 'tset:': a source must begin with one of exec, file, "),
        (
            "source = 'test:'\nto = 'jsonl:-?only=chang'\n",
            2,
            "error: the sink 'jsonl:-?only=chang': only must be change",
        ),
        ("source = 'test:'\ntop = 0\n", 2, "error: --config: top must be 1 to 1000; received 0"),
    ],
)
def test_a_configuration_that_will_not_do_is_refused(
    device: Device, wheelhouse: Path, models: dict[str, Path], tmp_path: Path, text: str, code: int, says: str
) -> None:
    (tmp_path / "my.toml").write_text(text, errors="surrogateescape")
    words = ["--wheelhouse", wheelhouse, "--model", models["good"], "--config", tmp_path / "my.toml"]
    said = refused(device, code, *words)
    assert says.replace("/FOLDER", str(tmp_path)) in said
    assert "geheim" not in said


@pytest.mark.parametrize("source", ["test:\udcff", "a\u2028b", "a\fb", "a\x1bb", " ", "rtsp://u:ge heim@cam/\x85"])
def test_a_source_that_is_no_line_of_text_is_refused(
    device: Device, wheelhouse: Path, models: dict[str, Path], source: str
) -> None:
    said = refused(device, 2, "--wheelhouse", wheelhouse, "--model", models["good"], "--source", source)
    shown = source.replace("u:ge heim", "***")
    assert f"--source must be one line of text; received {shown!r}: test:" in said


def test_help_names_every_option() -> None:
    done = subprocess.run(["bash", str(INSTALL), "--help"], capture_output=True, text=True, check=True)
    takes = {word for word in INSTALL.read_text().split("take() {")[0].split() if word.startswith("--")}
    takes -= {"--now"}  # of systemctl
    assert {"--until-eof", "--wheelhouse"} <= takes
    assert [word for word in takes if word.isascii() and word.strip("-").isalpha() and word not in done.stdout] == []
