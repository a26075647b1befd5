"""Archives that attack, archives that are damaged: nothing leaves them, nothing hangs, every message has a remedy."""

import contextlib
import gzip
import io
import lzma
import struct
import tarfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import made
import pytest
from edgecnn_training.dataset import read, survey
from edgecnn_training.datasets import _archive, _tar, tar
from edgecnn_training.examples import Example, Rejected
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import DataError


def write(path, data):
    path.write_bytes(data)
    return str(path)


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def rejected(location):
    return {item.name: item.reason for item in read(location) if isinstance(item, Rejected)}


UNSAFE = {
    "/etc/cat/1.png": "absolute path in an archive",
    "cat/../../dog/1.png": "path with '..' in an archive",
    "C:/cat/1.png": "absolute path in an archive",
}


def test_a_tar_member_that_could_escape_or_is_no_file_is_rejected_and_the_rest_goes_on(tmp_path):
    extra = [
        *map(member, UNSAFE),
        member("cat/sym.png", tarfile.SYMTYPE, "/etc/passwd"),
        member("cat/hard.png", tarfile.LNKTYPE, "cat/0.png"),
        member("cat/pipe.png", tarfile.FIFOTYPE),
        member("cat/disk.png", tarfile.BLKTYPE),
        member("cat/tty.png", tarfile.CHRTYPE),
    ]
    location = write(tmp_path / "x.tar.gz", made.tar_bytes(made.animals(), extra))
    assert rejected(location) == UNSAFE | {
        "cat/sym.png": "link in an archive",
        "cat/hard.png": "link in an archive",
        "cat/pipe.png": "not a regular file",
        "cat/disk.png": "not a regular file",
        "cat/tty.png": "not a regular file",
    }
    assert len(survey(location).records) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar.gz"]


def test_a_zip_member_that_could_escape_or_is_a_link_is_rejected_and_the_rest_goes_on(tmp_path):
    link, pipe = zipfile.ZipInfo("cat/sym.png"), zipfile.ZipInfo("cat/pipe.png")
    link.external_attr, pipe.external_attr = 0o120777 << 16, 0o010777 << 16
    files = dict.fromkeys(UNSAFE, b"x") | {link: b"/etc/passwd", pipe: b""} | made.animals()
    location = made.write_zip(tmp_path / "x.zip", files)
    assert rejected(location) == UNSAFE | {"cat/sym.png": "link in an archive", "cat/pipe.png": "not a regular file"}
    assert len(survey(location).records) == 6


def test_a_zip_with_backslashes_is_read(tmp_path):
    files = {name.replace("/", "\\"): data for name, data in made.animals().items()}
    assert survey(made.write_zip(tmp_path / "x.zip", files)).labels == ("cat", "dog")


def bomb_tar(path, size):
    header = member("cat/big.png")
    header.size = size
    with lzma.open(path, "wb", preset=0) as file:
        file.write(header.tobuf())
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    return str(path)


def test_a_tar_bomb_is_refused_before_it_fills_time_or_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(_archive, "FREE_BYTES", 8 << 20)
    location = bomb_tar(tmp_path / "bomb.tar.xz", 64 << 20)
    with pytest.raises(DataError, match=r"must not unpack to more than 100 times its size.*unpack it yourself"):
        survey(location)


def test_a_header_that_claims_gigabytes_costs_no_memory(tmp_path):
    header = member("pax", tarfile.XHDTYPE)
    header.size = 6 << 30
    location = write(tmp_path / "x.tar", header.tobuf() + bytes(1024))
    tracemalloc.start()
    with pytest.raises(DataError, match="damaged or truncated after 0 members"):
        survey(location)
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()


def test_a_member_larger_than_a_picture_can_be_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(tar, "MAX_FILE_BYTES", 1000)
    files = made.animals() | {"cat/film.avi": bytes(2000)}
    assert rejected(write(tmp_path / "x.tar", made.tar_bytes(files, mode="w"))) == {
        "cat/film.avi": "larger than the limit of 100 MB for one picture"
    }


def test_a_zip_bomb_is_refused_by_what_it_declares(tmp_path, monkeypatch):
    monkeypatch.setattr(_archive, "FREE_BYTES", 8 << 20)
    files = made.animals() | {f"cat/{i}.bmp": bytes(4 << 20) for i in range(4)}
    with pytest.raises(DataError, match="must not unpack to more than 100 times its size"):
        survey(made.write_zip(tmp_path / "bomb.zip", files))


def test_an_archive_of_too_many_members_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_archive, "MAX_MEMBERS", 5)
    for location in (
        write(tmp_path / "x.tar", made.tar_bytes(made.animals())),
        made.write_zip(tmp_path / "x.zip", made.animals()),
    ):
        with pytest.raises(DataError, match=r"at most 5 members.*split it"):
            survey(location)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_a_tar_cut_off_anywhere_is_refused(tmp_path, mode):
    whole = made.tar_bytes(made.animals(2), mode=mode)
    # An uncompressed archive is whole once the first block of its end is there; what follows is padding.
    needed = whole.rindex(made.picture(3)) // 512 * 512 + 1024 if mode == "w" else len(whole)
    for size in sorted({*range(600, needed, 97), 8, 64, 300, needed - 1, *range(512, needed, 512)}):
        location = write(tmp_path / "x", whole[: min(size, needed - 1)])
        with pytest.raises(DataError):
            survey(location)


def test_a_cut_off_tar_says_after_how_many_members_and_what_to_do(tmp_path):
    whole = made.tar_bytes(made.animals(), mode="w")
    location = write(tmp_path / "x.tar", whole[: whole.index(made.picture(4)) + 10])
    with pytest.raises(DataError, match=r"x.tar is damaged or truncated after 5 members .*; copy or download it again"):
        survey(location)


def test_a_broken_header_in_the_middle_is_not_taken_for_the_end(tmp_path):
    whole = bytearray(made.tar_bytes(made.animals(), mode="w"))
    whole[whole.index(b"dog/1.png")] ^= 1
    with pytest.raises(DataError, match="damaged or truncated after 4 members"):
        survey(write(tmp_path / "x.tar", bytes(whole)))


def test_a_wrong_checksum_at_the_end_of_a_gzip_file_is_noticed(tmp_path):
    whole = bytearray(made.tar_bytes(made.animals()))
    whole[-6] ^= 1
    with pytest.raises(DataError, match=r"damaged or truncated after 6 members.*CRC"):
        survey(write(tmp_path / "x.tgz", bytes(whole)))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9, 0.999])
def test_a_zip_cut_off_anywhere_is_refused(tmp_path, share):
    made.write_zip(tmp_path / "x.zip", made.animals())
    data = (tmp_path / "x.zip").read_bytes()
    with pytest.raises(DataError, match=r"damaged or truncated.*copy or download it again"):
        survey(write(tmp_path / "x.zip", data[: int(len(data) * share)]))


def test_an_encrypted_zip_is_refused_with_the_remedy(tmp_path):
    made.write_zip(tmp_path / "x.zip", made.animals())
    data = bytearray((tmp_path / "x.zip").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1  # the flag that says "encrypted"
    with pytest.raises(DataError, match=r"must not be encrypted.*unpack it and pass the folder"):
        survey(write(tmp_path / "x.zip", bytes(data)))


def test_a_zip_packed_by_an_unknown_method_is_refused_with_the_remedy(tmp_path):
    made.write_zip(tmp_path / "x.zip", made.animals())
    data = bytearray((tmp_path / "x.zip").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", data, data.index(signature) + offset, 9)  # Deflate64
    with pytest.raises(DataError, match=r"unknown method.*pack it again as a plain .zip"):
        survey(write(tmp_path / "x.zip", bytes(data)))


def test_a_gzip_file_of_something_else_is_refused_with_the_remedy(tmp_path):
    location = write(tmp_path / "x.gz", gzip.compress(made.picture(0, 100, 100)))
    with pytest.raises(DataError, match=r"must hold a tar archive of class folders.*or the folder itself"):
        survey(location)


def test_an_empty_archive_is_refused(tmp_path):
    for location in (write(tmp_path / "x.tar.gz", made.tar_bytes({})), made.write_zip(tmp_path / "x.zip", {})):
        with pytest.raises(DataError, match="a data set must hold pictures; none in"):
            survey(location)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["w", "w:gz", "w:xz", "zip"]),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_flipped_bits_give_pictures_or_a_refusal_and_nothing_else(tmp_path_factory, mode, flips):
    path = tmp_path_factory.mktemp("flipped") / "x"
    if mode == "zip":
        made.write_zip(path, made.animals(2))
    else:
        path.write_bytes(made.tar_bytes(made.animals(2), mode=mode))
    data = bytearray(path.read_bytes())
    for position, value in flips:
        data[position % len(data)] ^= value
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        assert all(isinstance(item, (Example, Rejected)) for item in read(str(path)))


def test_an_archive_is_looked_through_once_for_two_passes(tmp_path):
    location = write(tmp_path / "x.tar", made.tar_bytes(made.animals()))
    tar._layout.cache_clear()
    assert sum(1 for _ in read(location)) == sum(1 for _ in read(location)) == 6
    assert tar._layout.cache_info().misses == 1
    time.sleep(0.01)
    write(tmp_path / "x.tar", made.tar_bytes({f"pets/{n}": d for n, d in made.animals().items()} | {"a/b/1": b"x"}))
    assert {item.label for item in read(location) if isinstance(item, Example)} == {"pets", "a"}


def test_members_are_not_kept_in_memory(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for i in range(3000):
            archive.addfile(member(f"{'ab'[i % 2]}/{i}.png"))
    location = write(tmp_path / "x.tar", buffer.getvalue())
    tar._layout(location, 0, 0)
    tracemalloc.start()
    for _ in _tar.members(location, lambda member: False):
        pass
    assert tracemalloc.get_traced_memory()[1] < 2 << 20  # all members together are above 3 MiB
    tracemalloc.stop()


def test_names_that_zip_wrote_in_utf8_without_saying_so_are_read_as_utf8(tmp_path: Path) -> None:
    path = tmp_path / "unflagged.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(4):
            for label in ("cat", "gruen"):
                archive.writestr(f"{label}/{i}.png", made.picture(i if label == "cat" else i + 9))
    # the same length in bytes: "gruen" becomes "gr\u00fcn", whose flag for UTF-8 stays away
    path.write_bytes(path.read_bytes().replace(b"gruen/", "grün/".encode()))
    assert {item.label for item in read(str(path)) if isinstance(item, Example)} == {"cat", "grün"}
