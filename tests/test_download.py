"""``fetch``, ``extract`` and ``download_bccd``: a server on this machine, hostile archives."""

import contextlib
import gzip
import hashlib
import http.server
import io
import os
import re
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from detlearn.data import bccd as download
from detlearn.data.bccd import content_digest, download_bccd, extract, fetch

DATA = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
SHA256 = hashlib.sha256(DATA).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.data``, with the ranges and the troubles that a test asks for."""

    def do_GET(self):
        server, data = self.server, self.server.data
        server.requests.append(dict(self.headers))
        if server.errors:
            self.send_error(server.errors.pop(0))
            return
        start = self.wanted_start()
        if start is not None and start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200 if start is None else 206)
        if start is not None:
            start = start if server.wrong_start is None else server.wrong_start
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        body = data[start or 0 :]
        if server.tell_length:
            self.send_header("Content-Length", str(len(body)))
        for name, value in server.version.items():
            self.send_header(name, value)
        self.end_headers()
        self.send_slowly(body[: server.cuts.pop(0)] if server.cuts else body)

    def wanted_start(self):
        """The start of the range, or None to send everything."""
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not wanted or not self.server.ranges:
            return None
        if self.headers.get("If-Range") not in self.server.version.values():
            return None
        return int(wanted[1])

    def send_slowly(self, body):
        """Sends a little, then waits if the test wants to interrupt."""
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[:100_000])
            self.wfile.flush()
            self.server.release.wait(20)
            self.wfile.write(body[100_000:])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on a free port of this machine; no pauses between attempts."""
    monkeypatch.setattr(download, "RETRY_DELAYS", (0, 0, 0))
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.data, server.version = DATA, {"ETag": '"v1"'}
        server.ranges, server.tell_length, server.wrong_start = True, True, None
        server.errors, server.cuts, server.requests = [], [], []
        server.release = threading.Event()
        server.release.set()
        server.url = f"http://127.0.0.1:{server.server_port}/file.bin"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


def assert_only(folder, *names):
    """The folder holds these names and no others."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


# ------------------------------------------------------------------------------------- fetch


def test_fetches_a_file_and_its_folder(server, tmp_path):
    path = fetch(server.url, str(tmp_path / "new" / "file.bin"), sha256=SHA256, progress=False)
    assert path == tmp_path / "new" / "file.bin" and path.read_bytes() == DATA
    assert_only(path.parent, "file.bin")
    assert "Range" not in server.requests[0]


def test_file_that_is_there_is_fetched_again_only_if_its_checksum_is_wrong(server, tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"mine")
    fetch(server.url, path, progress=False)
    assert path.read_bytes() == b"mine" and server.requests == []
    fetch(server.url, path, sha256=SHA256, progress=False)
    assert path.read_bytes() == DATA and len(server.requests) == 1
    fetch(server.url, path, sha256=SHA256, progress=False)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "version", [{"ETag": '"v1"'}, {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}]
)
def test_goes_on_after_every_cut(server, tmp_path, version):
    server.version, server.cuts = version, [120_000, 60_000, 1]
    fetch(server.url, tmp_path / "file.bin", sha256=SHA256, progress=False)
    assert (tmp_path / "file.bin").read_bytes() == DATA
    ranges = [request.get("Range") for request in server.requests]
    assert ranges == [None, "bytes=120000-", "bytes=180000-", "bytes=180001-"]
    assert server.requests[1]["If-Range"] in version.values()
    assert_only(tmp_path, "file.bin")


def test_a_later_call_goes_on_where_the_attempts_ended(server, tmp_path):
    server.cuts = [50_000] * 4
    with pytest.raises(
        ConnectionError, match=r"file\.bin: cannot be fetched after 4 attempts.*is kept"
    ):
        fetch(server.url, tmp_path / "file.bin", progress=False)
    assert_only(tmp_path, "file.bin.part", "file.bin.part.version")
    assert (tmp_path / "file.bin.part").read_bytes() == DATA[:200_000]
    fetch(server.url, tmp_path / "file.bin", progress=False)
    assert (tmp_path / "file.bin").read_bytes() == DATA
    assert server.requests[-1]["Range"] == "bytes=200000-"


def test_server_without_ranges_is_asked_afresh(server, tmp_path):
    server.ranges, server.cuts = False, [120_000]
    fetch(server.url, tmp_path / "file.bin", sha256=SHA256, progress=False)
    assert (tmp_path / "file.bin").read_bytes() == DATA


@pytest.mark.parametrize("version", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_strong_version_nothing_is_resumed(server, tmp_path, version):
    server.version, server.cuts = version, [120_000]
    fetch(server.url, tmp_path / "file.bin", sha256=SHA256, progress=False)
    assert (tmp_path / "file.bin").read_bytes() == DATA
    assert all("Range" not in request for request in server.requests)


def test_new_version_on_the_server_is_not_glued_to_the_old_one(server, tmp_path):
    server.cuts = [50_000] * 4
    with pytest.raises(ConnectionError):
        fetch(server.url, tmp_path / "file.bin", progress=False)
    server.data, server.version = DATA[::-1], {"ETag": '"v2"'}
    fetch(server.url, tmp_path / "file.bin", progress=False)
    assert (tmp_path / "file.bin").read_bytes() == DATA[::-1]


@pytest.mark.parametrize("arrived, requests", [(DATA, 1), (DATA + b"too much", 2)])
def test_answer_416_means_complete_or_afresh(server, tmp_path, arrived, requests):
    (tmp_path / "file.bin.part").write_bytes(arrived)
    (tmp_path / "file.bin.part.version").write_text('"v1"')
    fetch(server.url, tmp_path / "file.bin", sha256=SHA256, progress=False)
    assert (tmp_path / "file.bin").read_bytes() == DATA and len(server.requests) == requests
    assert_only(tmp_path, "file.bin")


def test_another_range_than_the_one_asked_for_is_not_used(server, tmp_path):
    server.cuts, server.wrong_start = [120_000], 0
    fetch(server.url, tmp_path / "file.bin", sha256=SHA256, progress=False)
    assert (tmp_path / "file.bin").read_bytes() == DATA


def test_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(ValueError, match=rf"file\.bin: .*sha256 {SHA256}, expected {'0' * 64}"):
        fetch(server.url, tmp_path / "file.bin", sha256="0" * 64, progress=False)
    assert_only(tmp_path)


def test_file_of_unknown_length_and_empty_file(server, tmp_path):
    server.tell_length = False
    fetch(server.url, tmp_path / "file.bin", sha256=SHA256, progress=False)
    server.tell_length, server.data = True, b""
    assert fetch(server.url, tmp_path / "empty", progress=False).read_bytes() == b""


def test_passing_errors_are_tried_again_and_lasting_ones_are_not(server, tmp_path):
    server.errors = [503, 429, 500]
    fetch(server.url, tmp_path / "file.bin", sha256=SHA256, progress=False)
    assert len(server.requests) == 4
    server.errors = [404]
    with pytest.raises(ConnectionError, match=r"file\.bin: the server answered 404 Not Found"):
        fetch(server.url, tmp_path / "other.bin", progress=False)
    assert len(server.requests) == 5
    server.errors = [503] * 4
    with pytest.raises(ConnectionError, match="answered 503"):
        fetch(server.url, tmp_path / "other.bin", progress=False)
    assert_only(tmp_path, "file.bin")


def test_pauses_grow(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    monkeypatch.setattr(download, "RETRY_DELAYS", (1, 2, 4))
    server.errors = [503] * 4
    with pytest.raises(ConnectionError):
        fetch(server.url, tmp_path / "file.bin", progress=False)
    assert pauses == [1, 2, 4]


def test_offline(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError, match="Is this machine online"):
        fetch(server.url, tmp_path / "file.bin", progress=False)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "file.bin"])
def test_other_kinds_of_url_are_refused(tmp_path, url):
    with pytest.raises(ValueError, match=r"must start with http.*got '" + re.escape(url)):
        fetch(url, tmp_path / "file.bin")


def test_progress_bar_shows_the_bytes(server, tmp_path, capsys):
    fetch(server.url, tmp_path / "file.bin")
    assert "file.bin" in capsys.readouterr().err
    fetch(server.url, tmp_path / "quiet.bin", progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.slow  # a second Python process imports torch
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_halfway_the_part_stays_and_the_next_process_goes_on(server, tmp_path):
    server.release.clear()  # the server stops after 100 000 bytes
    path, part = tmp_path / "file.bin", tmp_path / "file.bin.part"
    code = f"from detlearn.data.bccd import fetch; fetch({server.url!r}, {str(path)!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.release.set()
    assert not path.exists()
    arrived = part.stat().st_size
    assert 0 < arrived <= 100_000
    fetch(server.url, path, sha256=SHA256, progress=False)
    assert server.requests[-1]["Range"] == f"bytes={arrived}-"
    assert_only(tmp_path, "file.bin")


# ----------------------------------------------------------------------------------- extract


def write_zip(path, members):
    """A zip of (name or ZipInfo) → content."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def write_tar(path, members):
    """A tar of (name or TarInfo) → content."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def tar_special(kind, target=""):
    """The entry of a link or device."""
    info = tarfile.TarInfo("trap")
    info.type, info.linkname = kind, target
    return info


def zip_link():
    """The entry of a symbolic link."""
    info = zipfile.ZipInfo("trap")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


WRITERS = {"zip": write_zip, "tar": write_tar}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("empty_folder_there", [False, True])
def test_unpacks_files_and_folders(tmp_path, kind, empty_folder_there):
    WRITERS[kind](tmp_path / "archive", {"top/a.txt": b"A", "top/deep/b.txt": b"B" * 99_999})
    root = tmp_path / "new" / "root"
    if empty_folder_there:
        root.mkdir(parents=True)
    assert extract(str(tmp_path / "archive"), root) == root
    assert (root / "top" / "a.txt").read_bytes() == b"A"
    assert (root / "top" / "deep" / "b.txt").read_bytes() == b"B" * 99_999
    assert_only(root.parent, "root")


def test_unpacks_folder_entries(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("empty")
    assert (extract(tmp_path / "a.zip", tmp_path / "a") / "empty").is_dir()
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        archive.add(tmp_path / "a" / "empty", "./empty")
    assert (extract(tmp_path / "b.tar", tmp_path / "b") / "empty").is_dir()


EVIL = [
    "../evil",
    "a/../../evil",
    "/tmp/evil",
    "..\\evil",
    "C:\\evil",
    "\\\\host\\share\\evil",
    "..",
]


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", EVIL)
def test_members_outside_are_refused_and_nothing_is_unpacked(tmp_path, kind, name):
    box = tmp_path / "box"
    box.mkdir()
    WRITERS[kind](box / "archive", {"good.txt": b"good", name: b"evil"})
    with pytest.raises(ValueError, match=r"archive: cannot be unpacked.*must be relative"):
        extract(box / "archive", box / "root")
    assert_only(box, "archive")
    assert_only(tmp_path, "box")


@pytest.mark.parametrize(
    "kind, trap",
    [
        ("zip", zip_link()),
        ("tar", tar_special(tarfile.SYMTYPE, "/etc")),
        ("tar", tar_special(tarfile.SYMTYPE, "good.txt")),
        ("tar", tar_special(tarfile.LNKTYPE, "../archive")),
        ("tar", tar_special(tarfile.CHRTYPE)),
        ("tar", tar_special(tarfile.FIFOTYPE)),
    ],
)
def test_links_and_devices_are_refused(tmp_path, kind, trap):
    WRITERS[kind](tmp_path / "archive", {"good.txt": b"good", trap: b""})
    with pytest.raises(ValueError, match="'trap' is a link or a device"):
        extract(tmp_path / "archive", tmp_path / "root")
    assert_only(tmp_path, "archive")


@pytest.mark.parametrize("kind", WRITERS)
def test_broken_archives_leave_nothing(tmp_path, kind):
    path = tmp_path / "archive"
    WRITERS[kind](path, {f"{i}.bin": DATA[i * 9000 : (i + 1) * 9000] for i in range(9)})
    whole = path.read_bytes()
    damaged = whole[:20_000] + bytes(500) + whole[20_500:]
    for content in (b"", b"no archive", whole[:40_000], damaged):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="archive: cannot be unpacked"):
            extract(path, tmp_path / "root")
        assert_only(tmp_path, "archive")


def test_tar_with_a_damaged_header_is_not_taken_for_a_short_one(tmp_path):
    path = tmp_path / "archive"
    with tarfile.open(path, "w") as archive:
        for name in ("a", "b"):
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    content = bytearray(path.read_bytes())
    content[1024] ^= 1  # the name in b's header: a's header and content take 512 bytes each
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged after 1024 bytes"):
        extract(path, tmp_path / "root")


def test_checksum_of_the_compression_is_read_to_the_end(tmp_path):
    path = tmp_path / "archive"
    write_tar(path, {"a": b"abc"})
    content = bytearray(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(1 << 20)))
    path.write_bytes(content)
    extract(path, tmp_path / "whole")
    content[-8] ^= 1  # the CRC
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be unpacked"):
        extract(path, tmp_path / "root")


def test_folder_with_content_is_never_touched(tmp_path):
    write_zip(tmp_path / "archive", {"a.txt": b"A"})
    root = tmp_path / "root"
    root.mkdir()
    (root / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="root is there already"):
        extract(tmp_path / "archive", root)
    assert_only(root, "mine.txt")


# ------------------------------------------------------------------------------ download_bccd


def test_digest_is_that_of_sha256sum(tmp_path):
    for name, content in {"b.txt": "1\n", "sub/a.txt": "2\n", "sub/.c": "3\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    # printf '1\n' | sha256sum, printf '2\n' | sha256sum
    one = "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"
    two = "53c234e5e8472b6ac51c1ae1cab3fe06fad053beb8ebfd8977b010655bfdd3c3"
    text = f"{one}  b.txt\n{two}  sub/a.txt\n"
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert content_digest(tmp_path, ("sub/*.txt", "*.txt")) == expected
    (tmp_path / "b.txt").rename(tmp_path / "c.txt")
    assert content_digest(tmp_path, ("sub/*.txt", "*.txt")) != expected


@pytest.fixture
def small_bccd(server, tmp_path, monkeypatch):
    """The server gives an archive in GitHub's form with three files."""
    top = f"BCCD_Dataset-{download.BCCD_COMMIT}"
    files = {
        "Annotations/x.xml": b"<annotation/>",
        "ImageSets/Main/train.txt": b"x\n",
        "JPEGImages/x.jpg": b"jpg",
    }
    members = {f"{top}/BCCD/{name}": content for name, content in files.items()}
    write_zip(tmp_path / "made.zip", {f"{top}/LICENSE": b"MIT", f"{top}/plot.py": b"", **members})
    server.data = (tmp_path / "made.zip").read_bytes()
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    monkeypatch.setattr(download, "BCCD_URL", server.url)
    monkeypatch.setattr(download, "BCCD_DIGEST", digest)
    return server


def test_bccd_is_fetched_once(small_bccd, tmp_path):
    root = tmp_path / "data" / "bccd"
    for _ in range(2):
        assert download_bccd(root, progress=False) == root
        assert_only(root, "Annotations", "ImageSets", "JPEGImages", "LICENSE")
        assert_only(root.parent, "bccd")
    assert len(small_bccd.requests) == 1


def test_bccd_with_other_content_is_refused(small_bccd, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "BCCD_DIGEST", "0" * 64)
    with pytest.raises(ValueError, match="not those of BCCD"):
        download_bccd(tmp_path / "data" / "bccd", progress=False)
    assert_only(tmp_path / "data")


def test_bccd_archive_that_is_broken_is_thrown_away(small_bccd, tmp_path):
    small_bccd.data = b"<html>Log in to the hotel's network</html>"
    with pytest.raises(ValueError, match="cannot be unpacked"):
        download_bccd(tmp_path / "data" / "bccd", progress=False)
    assert_only(tmp_path / "data")


def test_bccd_leaves_a_folder_of_the_same_name_alone(small_bccd, tmp_path):
    root = tmp_path / "bccd"
    root.mkdir()
    (root / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="bccd is there, but its files are not"):
        download_bccd(root, progress=False)
    assert_only(root, "mine.txt")
    assert small_bccd.requests == []


def test_bccd_offline_says_what_to_do(small_bccd, tmp_path):
    small_bccd.errors = [404]
    with pytest.raises(ConnectionError, match=r"404 Not Found; or unpack .* by hand, as .*bccd"):
        download_bccd(tmp_path / "bccd", progress=False)


def test_default_folder(small_bccd, tmp_path, monkeypatch):
    monkeypatch.setenv("DETLEARN_DATA", str(tmp_path / "here"))
    assert download_bccd(progress=False) == tmp_path / "here" / "bccd"
    monkeypatch.delenv("DETLEARN_DATA")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert download_bccd(progress=False) == tmp_path / "home" / ".cache" / "detlearn" / "bccd"


def test_digest_is_that_of_the_real_data_set(monkeypatch):
    folder = Path(os.environ.get("DETLEARN_DATA", "")) / "bccd"
    if "DETLEARN_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("BCCD is not here: set DETLEARN_DATA to the folder that holds bccd/")
    monkeypatch.setattr(download, "fetch", None)  # nothing may be fetched
    assert download_bccd() == folder
