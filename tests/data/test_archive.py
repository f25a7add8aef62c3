"""Archives: what is read, and that every hostile one is refused with one sentence that names it."""

import gzip
import io
import stat
import tarfile
import tracemalloc
import zipfile

import pytest
from image_trees import write_tar, write_zip

from vision_attn.data import archive
from vision_attn.data.archive import members
from vision_attn.spec import InputError

FILES = {"top/a.txt": b"one", "top/b/c.txt": b"", "top/d.txt": bytes(range(256)) * 40}


def refusal(path):
    with pytest.raises(InputError) as found:
        list(members(path))
    sentence = str(found.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


def contents(path):
    return {member.name: member.content for member in members(path) if member.content is not None}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_is_read_whatever_its_compression_and_format(tmp_path, mode, kind):
    long = {f"{'x' * 90}/{'y' * 60}": b"long"}
    with tarfile.open(tmp_path / "a.bin", mode, format=kind) as tar:
        for name, content in {**FILES, **long}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    assert contents(tmp_path / "a.bin") == {**FILES, **long}


def test_a_zip_is_read(tmp_path):
    assert contents(write_zip(tmp_path / "a.zip", FILES)) == FILES


def test_folders_are_told_apart_from_files_and_a_leading_dot_is_dropped(tmp_path):
    folder = tarfile.TarInfo("./top/empty/")
    folder.type = tarfile.DIRTYPE
    path = write_tar(tmp_path / "a.tar", {"./top/a": b"1"}, extra=[folder])
    assert [(member.name, member.content) for member in members(path)] == [("top/a", b"1"), ("top/empty", None)]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a/b/.."])
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_a_name_that_leaves_the_archive_is_refused(tmp_path, name, write):
    assert f"the name {name!r}, which leaves the archive." in refusal(write(tmp_path / "a", {name: b"x"}))


@pytest.mark.parametrize("name", ["a\nb", "a\\..\\b", "a\x1b[2J"])
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_a_name_with_control_characters_or_backslashes_is_refused(tmp_path, name, write):
    assert "names must be plain text" in refusal(write(tmp_path / "a", {name: b"x"}))


def test_a_nul_in_a_name_is_refused(tmp_path):
    content = write_zip(tmp_path / "a.zip", {"aXb": b"x"}).read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(b"aXb", b"a\0b"))
    assert "names must be plain text" in refusal(tmp_path / "a.zip")
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("a\0b"))
        tar.addfile(tarfile.TarInfo("é\0b"))
    assert "names must be plain text" in refusal(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.CHRTYPE, "is a device, pipe or sparse file"),
        (tarfile.BLKTYPE, "is a device, pipe or sparse file"),
        (tarfile.FIFOTYPE, "is a device, pipe or sparse file"),
    ],
)
def test_links_devices_and_pipes_in_a_tar_are_refused(tmp_path, kind, words):
    member = tarfile.TarInfo("trap")
    member.type, member.linkname = kind, "/etc/passwd"
    assert f"'trap' in '{tmp_path / 'a.tar'}' {words}" in refusal(write_tar(tmp_path / "a.tar", {}, extra=[member]))


@pytest.mark.parametrize(("kind", "words"), [(stat.S_IFLNK, "is a link"), (stat.S_IFIFO, "is a device or pipe")])
def test_links_and_pipes_in_a_zip_are_refused(tmp_path, kind, words):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        info = zipfile.ZipInfo("trap")
        info.external_attr = (kind | 0o777) << 16
        made.writestr(info, "/etc/passwd")
    assert words in refusal(tmp_path / "a.zip")


def test_a_file_given_twice_is_refused(tmp_path):
    twice = tarfile.TarInfo("./a")
    assert "holds 'a' twice" in refusal(write_tar(tmp_path / "a.tar", {"a": b""}, extra=[twice]))


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 2**20)
    member = tarfile.TarInfo("bomb")
    member.size = 64 * 2**20
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
        file.write(member.tobuf())
        for _ in range(64):
            file.write(bytes(2**20))
    tracemalloc.start()
    assert "must be at most 1 MiB. It says 67108864 bytes." in refusal(tmp_path / "a.tar.gz")
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_asks_for_more_than_a_file_may_have_is_refused(tmp_path, kind):
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 8 * 2**30
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    assert "a header asks for 8589934592 bytes at once" in refusal(tmp_path / "a.tar")


def test_a_header_with_a_negative_size_is_refused(tmp_path):
    header = bytearray(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xf0\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(10240))
    assert "'x' in" in refusal(tmp_path / "a.tar")


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_too_many_files_and_too_many_bytes_are_refused(tmp_path, monkeypatch, write):
    path = write(tmp_path / "a", {f"{index}": bytes(2**16) for index in range(20)})
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 2**20)
    assert "must unpack to at most 0 GiB" in refusal(path)
    monkeypatch.setattr(archive, "MAX_MEMBERS", 5)
    assert "must hold at most 5 files" in refusal(path)


def test_a_zip_member_that_is_larger_than_it_says_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("bomb", bytes(2**20))
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace((2**20).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    assert "must be a whole tar or zip archive" in refusal(tmp_path / "a.zip")


def test_an_encrypted_zip_is_refused(tmp_path):
    content = bytearray(write_zip(tmp_path / "a.zip", {"a": b"x"}).read_bytes())
    for start, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(start) + offset] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    assert "is encrypted" in refusal(tmp_path / "a.zip")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_an_archive_cut_off_anywhere_is_refused(tmp_path, mode):
    path = tmp_path / "a.bin"
    write_zip(path, FILES) if mode == "zip" else write_tar(path, FILES, mode=mode)
    whole = path.read_bytes()
    # a plain tar ends in padding, of which a cut takes nothing away
    end = len(whole) - 1 if mode != "w" else 512 * (3 + 20 + 1)
    for length in {0, 1, 5, 100, 511, 512, 513, 1024, 1536, 2048, end // 3, end // 2, end - 1}:
        if length < end:
            path.write_bytes(whole[:length])
            assert "must be a whole tar or zip archive" in refusal(path)


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><html></html>", b"PK\x03\x04 no", b"\x1f\x8b no", b"x" * 5000]
)
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "a.tar.gz").write_bytes(content)
    assert "must be a whole tar or zip archive" in refusal(tmp_path / "a.tar.gz")


def test_an_archive_that_is_not_there_is_refused(tmp_path):
    assert "cannot be read: No such file or directory." in refusal(tmp_path / "none.tar")
