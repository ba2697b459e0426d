"""``download_bccd``: a server on this machine, hostile archives, and cuts in between."""

import hashlib
import http.server
import os
import resource
import stat
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pooch
import pytest

from detlearn.data import bccd
from detlearn.data.bccd import content_digest, download_bccd, unpack
from detlearn.machine.checkpoints import remove_leftovers


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve ``server.data``, with the troubles that a test asks for."""

    def do_GET(self):
        server = self.server
        server.requests += 1

        if server.answer is not None:
            server.answer(self)
            return

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
        server.answer = None
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


def answer(status, headers=None, body=b""):
    """An answer in the server's own words."""

    def send(handler):
        handler.send_response(status)
        for name, value in (headers or {}).items():
            for one in value if isinstance(value, list) else [value]:
                handler.send_header(name, one)
        handler.end_headers()
        handler.wfile.write(body)

    return send


@pytest.mark.parametrize(
    ("send", "words"),
    [
        (answer(206, body=b"PK"), r"answers 206 .*expected 200 and the whole file"),
        (answer(204), "answers 204"),
        (answer(302), "answers 302"),  # to nowhere
        (answer(200, {"Content-Length": "many"}, b"x"), "says its length is 'many'"),
        (answer(200, {"Content-Length": "-5"}, b"x"), "says its length is '-5'"),
        (answer(200, {"Content-Length": ["3", "4"]}, b"xyz"), "leads to no file: .*Content-Length"),
        (answer(200, {"Content-Length": "64000001"}), "gives 64000001 bytes or more, expected at"),
        (answer(302, {"Location": "file:///etc/passwd"}), "leads to no file: .*file:///etc/passwd"),
        (answer(302, {"Location": "ftp://127.0.0.1/x"}), "leads to no file"),
        (answer(302, {"Location": "/file.zip"}), "leads to no file: Exceeded 5 redirects"),
        (answer(302, {"Location": "http://[bad"}), "leads to no file"),
    ],
)
def test_answers_that_are_not_the_file(small_bccd, tmp_path, send, words):
    small_bccd.answer = send
    with pytest.raises(ConnectionError, match=rf"file\.zip {words}"):
        download_bccd(tmp_path / "data" / "bccd", progress=False)
    assert_only(tmp_path / "data")
    assert small_bccd.requests in (1, 6)  # it would be the same the next time


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a.zip", "a.zip"])
def test_only_http_is_asked(tmp_path, monkeypatch, url):
    monkeypatch.setattr(bccd, "BCCD_URL", url)
    with pytest.raises(ConnectionError, match="leads to no file"):
        download_bccd(tmp_path / "data" / "bccd", progress=False)


def test_led_to_another_place_on_the_way(small_bccd, tmp_path):
    def lead(handler):
        small_bccd.answer = None
        answer(302, {"Location": "/other.zip"})(handler)

    small_bccd.answer = lead
    download_bccd(tmp_path / "data" / "bccd", progress=False)
    assert small_bccd.requests == 2


def test_a_length_that_is_too_large_is_a_cut(small_bccd, tmp_path):
    small_bccd.answer = answer(200, {"Content-Length": "1000"}, b"PK")
    with pytest.raises(ConnectionError, match=r"cannot be fetched .*2 bytes read, 998 more"):
        download_bccd(tmp_path / "data" / "bccd", progress=False)
    assert small_bccd.requests == 4


def test_without_end(small_bccd, tmp_path, monkeypatch):
    def endless(handler):
        answer(200)(handler)
        try:
            while True:
                handler.wfile.write(bytes(10_000))
        except OSError:
            pass  # nobody listens any more

    monkeypatch.setattr(bccd, "MAX_DOWNLOAD", 50_000)
    small_bccd.answer = endless
    with pytest.raises(ConnectionError, match="bytes or more, expected at most 50000"):
        download_bccd(tmp_path / "data" / "bccd", progress=False)


def test_a_byte_now_and_then(small_bccd, tmp_path, monkeypatch):
    """Each comes before the patience for one ends; all of them together take too long."""
    clock = iter(range(100_000))
    monkeypatch.setattr(bccd, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(bccd, "TOTAL_TIME", 20)
    sent, pause = [], threading.Event()  # time.sleep does nothing here

    def drip(handler):
        answer(200, {"Content-Length": "1000"})(handler)
        try:
            while len(sent) < 1000:
                sent.append(handler.wfile.write(b"x"))
                handler.wfile.flush()
                pause.wait(0.003)
        except OSError:
            pass

    small_bccd.answer = drip
    with pytest.raises(ConnectionError, match="was not there after 20 s"):
        download_bccd(tmp_path / "data" / "bccd", progress=False)
    assert len(sent) < 900


def test_two_at_once_and_the_other_is_faster(small_bccd, tmp_path, monkeypatch):
    root = tmp_path / "data" / "bccd"
    copy = bccd.shutil.copy

    def late(*args):
        monkeypatch.setattr("detlearn.data.bccd.shutil.copy", copy)
        download_bccd(root, progress=False)  # all of it
        return copy(*args)

    monkeypatch.setattr("detlearn.data.bccd.shutil.copy", late)
    assert download_bccd(root, progress=False) == root
    assert_only(root.parent, "bccd")
    assert small_bccd.requests == 2


def test_a_full_disk_is_named_and_leaves_nothing(small_bccd, tmp_path):
    """A limit on the size of files stops a write in the middle, as a full disk does."""
    small_bccd.data += bytes(100_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"too large: '.*data/bccd'"):
            download_bccd(tmp_path / "data" / "bccd", progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_only(tmp_path / "data")


def test_what_was_killed_is_swept(small_bccd, tmp_path):
    killed = tmp_path / "data" / ".bccd.0123abcd.tmp" / "part"
    killed.mkdir(parents=True)
    (killed / "file").write_text("half")
    download_bccd(tmp_path / "data" / "bccd", progress=False)
    assert_only(tmp_path / "data", "bccd")

    # One that was killed at the very end has left all that is wanted, and something beside it.
    killed.mkdir(parents=True)
    remove_leftovers.cache_clear()
    download_bccd(tmp_path / "data" / "bccd", progress=False)
    assert_only(tmp_path / "data", "bccd")


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


def refused(tmp_path, members, words):
    """Nothing of such an archive is unpacked."""
    write_zip(tmp_path / "a.zip", members)
    (tmp_path / "root").mkdir(exist_ok=True)
    with pytest.raises(ValueError, match=rf"a\.zip: cannot be unpacked as zip \(.*{words}"):
        unpack(tmp_path / "a.zip", tmp_path / "root")
    assert_only(tmp_path / "root")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "file name '' must be relative"),
        (".", "member '.' has no name of its own"),
        ("./", "member './' has no name of its own"),
        ("a/" + "b" * 256, "too long a name"),
        ("ä" * 128, "too long a name"),  # 256 bytes
        ("/".join(["abcdefghi"] * 101), "too long a name"),
    ],
)
def test_names_that_no_file_can_have(tmp_path, name, words):
    refused(tmp_path, {"good.txt": b"good", zipfile.ZipInfo(name): b"evil"}, words)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "a/b"),  # a file and a folder
        ("a/b", "a"),
        ("a/", "a"),
        ("readme", "README"),  # one file on many disks
        ("A/x", "a/y"),
        ("é", "e\u0301"),  # accents in one character or two
        ("a", "./a"),
        ("a", "a."),
        ("a\\b", "a/b"),
    ],
)
def test_members_in_each_others_way(tmp_path, first, second):
    refused(tmp_path, {first: b"", "good": b"", second: b""}, "are in each other's way")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_comes_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    with pytest.raises(ValueError, match="'a' and 'a' are in each other's way"):
        unpack(tmp_path / "a.zip", tmp_path / "root")


def test_folders_may_be_named_or_not(tmp_path):
    write_zip(tmp_path / "a.zip", {"a/": b"", "a/b": b"1", "a/c/d": b"2", "a/c/": b"", "x/y": b""})
    (tmp_path / "root").mkdir()
    unpack(tmp_path / "a.zip", tmp_path / "root")
    assert (tmp_path / "root/a/b").read_bytes() == b"1"
    assert (tmp_path / "root/a/c/d").read_bytes() == b"2" and (tmp_path / "root/x/y").is_file()


def test_what_would_fill_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(bccd, "MAX_UNPACKED", 1_000_000)
    refused(tmp_path, {"zeros": bytes(1_000_001)}, "take 1000001 bytes, expected at most 1000000")
    # Each takes a block of the disk.
    refused(tmp_path, {f"{k}": b"" for k in range(245)}, "take 1003520 bytes")
    write_zip(tmp_path / "a.zip", {f"{k}": b"" for k in range(244)})
    unpack(tmp_path / "a.zip", tmp_path / "root")


def test_a_member_larger_than_it_says(tmp_path):
    write_zip(tmp_path / "a.zip", {"zeros": bytes(70_000)})
    content = (tmp_path / "a.zip").read_bytes()
    said = (70_000).to_bytes(4, "little")
    assert content.count(said) == 2  # before the member, and in the list at the end
    (tmp_path / "a.zip").write_bytes(content.replace(said, (5).to_bytes(4, "little")))
    (tmp_path / "root").mkdir()
    with pytest.raises(ValueError, match="cannot be unpacked as zip"):
        unpack(tmp_path / "a.zip", tmp_path / "root")
    assert all(path.stat().st_size <= 5 for path in (tmp_path / "root").iterdir())


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
