"""``download_bccd``: a server on this machine, hostile archives, and cuts in between."""

import hashlib
import http.server
import os
import stat
import threading
import zipfile
from pathlib import Path

import pooch
import pytest

from detlearn.data import bccd
from detlearn.data.bccd import content_digest, download_bccd, unpack


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve ``server.data``, with the troubles that a test asks for."""

    def do_GET(self):
        server = self.server
        server.requests += 1

        if server.errors:
            self.send_error(server.errors.pop(0))
            return

        self.send_response(200)
        if server.tell_length:
            self.send_header("Content-Length", str(len(server.data)))
        self.end_headers()
        self.wfile.write(server.data[: server.cuts.pop(0)] if server.cuts else server.data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on a free port of this machine; no pauses between attempts."""
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    monkeypatch.setenv("no_proxy", "*")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.data, server.tell_length = b"", True
        server.errors, server.cuts, server.requests = [], [], 0
        server.url = f"http://127.0.0.1:{server.server_port}/file.zip"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def write_zip(path, members):
    """Write a zip of (name or ZipInfo) → content."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


FILES = {
    "Annotations/x.xml": b"<annotation/>",
    "ImageSets/Main/train.txt": b"x\n",
    "JPEGImages/x.jpg": b"jpg" * 9999,
}


@pytest.fixture
def small_bccd(server, tmp_path, monkeypatch):
    """The server gives an archive in GitHub's form with three files."""
    top = f"BCCD_Dataset-{bccd.BCCD_COMMIT}"
    members = {f"{top}/BCCD/{name}": content for name, content in FILES.items()}
    write_zip(tmp_path / "made.zip", {f"{top}/LICENSE": b"MIT", f"{top}/plot.py": b"", **members})
    server.data = (tmp_path / "made.zip").read_bytes()

    lines = [f"{hashlib.sha256(FILES[name]).hexdigest()}  {name}\n" for name in sorted(FILES)]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    monkeypatch.setattr(bccd, "BCCD_URL", server.url)
    monkeypatch.setattr(bccd, "BCCD_DIGEST", digest)
    return server


def assert_only(folder, *names):
    """The folder holds these names and no others."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


# ----------------------------------------------------------------------------- download_bccd


@pytest.mark.parametrize("tell_length", [True, False])  # GitHub does not tell it
@pytest.mark.parametrize("empty_folder_there", [True, False])
def test_bccd_is_fetched_once(small_bccd, tmp_path, tell_length, empty_folder_there):
    small_bccd.tell_length = tell_length
    root = tmp_path / "data" / "bccd"
    if empty_folder_there:
        root.mkdir(parents=True)

    for _ in range(2):
        assert download_bccd(str(root), progress=False) == root
        assert_only(root, "Annotations", "ImageSets", "JPEGImages", "LICENSE")
        assert_only(root.parent, "bccd")

    assert (root / "JPEGImages" / "x.jpg").read_bytes() == FILES["JPEGImages/x.jpg"]
    assert small_bccd.requests == 1


def test_passing_troubles_are_tried_again(small_bccd, tmp_path):
    small_bccd.errors, small_bccd.cuts = [503, 500], [100]
    download_bccd(tmp_path / "data" / "bccd", progress=False)
    assert_only(tmp_path / "data", "bccd")
    assert small_bccd.requests == 4


@pytest.mark.parametrize(
    "errors, cuts, found", [([404] * 4, [], "404"), ([], [100] * 4, "100 bytes read")]
)
def test_lasting_troubles_leave_nothing_and_say_what_to_do(
    small_bccd, tmp_path, errors, cuts, found
):
    small_bccd.errors, small_bccd.cuts = errors, cuts
    message = rf"file\.zip cannot be fetched .*{found}.*online.*unpack .* by hand, as .*bccd"
    with pytest.raises(ConnectionError, match=message):
        download_bccd(tmp_path / "data" / "bccd", progress=False)
    assert_only(tmp_path / "data")


def test_offline_says_what_to_do(small_bccd, tmp_path):
    small_bccd.shutdown()
    small_bccd.server_close()
    with pytest.raises(ConnectionError, match=r"Is this machine online\? .*unpack .* by hand"):
        download_bccd(tmp_path / "data" / "bccd", progress=False)
    assert_only(tmp_path / "data")


def test_other_content_is_refused(small_bccd, tmp_path, monkeypatch):
    monkeypatch.setattr(bccd, "BCCD_DIGEST", "0" * 64)
    with pytest.raises(ValueError, match=r"not those of BCCD"):
        download_bccd(tmp_path / "data" / "bccd", progress=False)
    assert_only(tmp_path / "data")


def test_what_is_no_archive_is_thrown_away(small_bccd, tmp_path):
    small_bccd.data = b"<html>Log in to the hotel's network</html>"
    with pytest.raises(ValueError, match=r"cannot be unpacked"):
        download_bccd(tmp_path / "data" / "bccd", progress=False)
    assert_only(tmp_path / "data")


@pytest.mark.parametrize("step", ["unpack", "content_digest", "shutil.copy"])
def test_a_cut_at_any_step_leaves_no_folder(small_bccd, tmp_path, monkeypatch, step):
    def cut(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"detlearn.data.bccd.{step}", cut)
    with pytest.raises(KeyboardInterrupt):
        download_bccd(tmp_path / "data" / "bccd", progress=False)
    assert_only(tmp_path / "data")


def test_a_folder_of_the_same_name_is_left_alone(small_bccd, tmp_path):
    root = tmp_path / "bccd"
    root.mkdir()
    (root / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"bccd is there, but its files are not"):
        download_bccd(root, progress=False)
    assert_only(root, "mine.txt")
    assert small_bccd.requests == 0


def test_a_bar_is_shown_only_if_wanted(small_bccd, tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.setattr(pooch.get_logger(), "handlers", [caplog.handler])
    download_bccd(tmp_path / "quiet", progress=False)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    download_bccd(tmp_path / "disabled")
    assert capsys.readouterr().err == "" and caplog.records == []
    monkeypatch.setenv("TQDM_DISABLE", "0")
    download_bccd(tmp_path / "shown")
    assert "B/s" in capsys.readouterr().err


def test_default_folder(small_bccd, tmp_path, monkeypatch):
    monkeypatch.setenv("DETLEARN_DATA", str(tmp_path / "here"))
    assert download_bccd(progress=False) == tmp_path / "here" / "bccd"
    monkeypatch.delenv("DETLEARN_DATA")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert download_bccd(progress=False) == tmp_path / "home" / ".cache" / "detlearn" / "bccd"


# ------------------------------------------------------------------------------------ unpack


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/tmp/evil",
        "..\\evil",
        "C:\\evil",
        "\\\\host\\share\\evil",
        "..",
    ],
)
def test_members_outside_are_refused_and_nothing_is_unpacked(tmp_path, name):
    box = tmp_path / "box"
    (box / "root").mkdir(parents=True)
    write_zip(box / "a.zip", {"good.txt": b"good", name: b"evil"})
    with pytest.raises(ValueError, match=r"a\.zip: cannot be unpacked.*must be relative"):
        unpack(box / "a.zip", box / "root")
    assert_only(box / "root")
    assert_only(box, "a.zip", "root")
    assert_only(tmp_path, "box")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused(tmp_path, kind):
    trap = zipfile.ZipInfo("trap")
    trap.create_system, trap.external_attr = 3, (kind | 0o777) << 16
    write_zip(tmp_path / "a.zip", {"good.txt": b"good", trap: b"/etc"})
    (tmp_path / "root").mkdir()
    with pytest.raises(ValueError, match=r"'trap' is a link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "root")
    assert_only(tmp_path / "root")


def test_broken_archives_are_refused(tmp_path):
    path = tmp_path / "a.zip"
    write_zip(path, {f"{i}.bin": os.urandom(9000) for i in range(9)})
    whole = path.read_bytes()
    damaged = whole[:20_000] + bytes(500) + whole[20_500:]
    for content in (b"", b"no archive", whole[:40_000], damaged):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.zip: cannot be unpacked"):
            unpack(path, tmp_path / "root")


# ---------------------------------------------------------------------------- content_digest


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


def test_digest_is_that_of_the_real_data_set(monkeypatch):
    folder = Path(os.environ.get("DETLEARN_DATA", "")) / "bccd"
    if "DETLEARN_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("BCCD is not here: set DETLEARN_DATA to the folder that holds bccd/")
    monkeypatch.setattr(bccd, "_fetch", None)  # nothing may be fetched
    assert download_bccd() == folder
