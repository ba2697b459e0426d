"""Takes rights away from the process that runs a learner's code. Linux only.

In this order, each step as far as the system lets us:

- limits: memory beyond what the process holds, size of files, open files, processor time, no core;
- no new processes or threads (RLIMIT_NPROC);
- root becomes a user of its own, different for each process; only if the installed packages cannot
  be read by others, the right to read any file stays;
- Landlock (Linux 5.13 and later, for every user): no writing but to /dev/null and to a folder of
  the process's own, no starting of programs, no TCP (Linux 6.7), no signals to processes outside
  (6.12);
- no regaining of rights by set-uid programs, and death with the parent.

The folder is there because libraries want one for their caches and temporary files: without it
``import matplotlib`` fails.

Without root and without Landlock a submission runs with the instructor's own rights: it could
write where they may, and stop the grader. Then use a container.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import stat
import struct
import sys
import tempfile
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 8, 36, 38
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION = 0x20080522  # linux/capability.h, _LINUX_CAPABILITY_VERSION_3
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446  # the same on all processors
LANDLOCK_WRITE_FILE = 1 << 1
# In the folder of its own: write, delete, make and rename files, folders and symbolic links. Not
# execute them, and no devices, pipes and sockets.
LANDLOCK_IN_FOLDER = sum(1 << bit for bit in (1, 4, 5, 7, 8, 12, 13, 14))
# linux/landlock.h: what each version of the interface added, besides reading files and folders.
LANDLOCK_FILES = {1: 0b1_1111_1111_0011, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
LANDLOCK_TCP, LANDLOCK_SCOPES = {4: 0b11}, {6: 0b11}
MAX_FILE_BYTES, MAX_OPEN_FILES = 1_000_000, 128
# What programs ask where they may write.
PLACES = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR")

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def adopt_orphans() -> None:
    """Become, from now on, the parent of descendants whose own parent ends."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def confine(seconds: float, megabytes: int, folder: str | None = None) -> None:
    """Give up what a learner's function does not need.

    Args:
        seconds: of processor time, rounded up.
        megabytes: beyond what the process holds now.
        folder: the only place where the process may write, an empty folder; None for none.
    """
    os.umask(0o077)
    _settle_in(folder)
    _limit(seconds, megabytes * 2**20)

    if os.geteuid() == 0:
        _become_nobody(folder)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _landlock(folder)

    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user resets this, so it comes last


def _settle_in(folder: str | None) -> None:
    """Work in a folder, and keep caches and temporary files there."""
    os.chdir(folder or "/")
    if folder is not None:
        os.environ.update(dict.fromkeys(PLACES, folder))
        tempfile.tempdir = None  # where they were in the parent


def folder_of_its_own() -> str | None:
    """Make an empty folder that any user can get at; None where nothing can be written.

    The caller removes it.
    """
    usual = [os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp", "/dev/shm"]
    for place in sorted(filter(os.path.isdir, usual), key=lambda p: not _leads_anyone_to(Path(p))):
        with contextlib.suppress(OSError):
            return tempfile.mkdtemp(prefix="detlearn-grading-", dir=place)
    return None


def _leads_anyone_to(folder: Path) -> bool:
    """Whether every user may pass through a folder and those around it."""
    folder = folder.resolve()
    return all(stat.S_IMODE(os.stat(f).st_mode) & 0o001 for f in (folder, *folder.parents))


def _prctl(option: int, value: int) -> None:
    _libc.prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3)


def _limit(seconds: float, more: int) -> None:
    import resource

    # The server has loaded torch: what the process holds already is not the learner's.
    with open("/proc/self/status") as file:
        held = dict(line.split(":", 1) for line in file)

    limits = {
        resource.RLIMIT_DATA: int(held["VmData"].split()[0]) * 1024 + more,
        resource.RLIMIT_AS: int(held["VmSize"].split()[0]) * 1024 + more,
        resource.RLIMIT_FSIZE: MAX_FILE_BYTES,
        resource.RLIMIT_NOFILE: MAX_OPEN_FILES,
        resource.RLIMIT_CPU: int(seconds) + 2,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 1,
    }
    # A limit that is set already may only be lowered.
    for name, value in limits.items():
        hard = resource.getrlimit(name)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


def _become_nobody(folder: str | None) -> None:
    """Change to a user whom nobody else is; what fails (in some containers) is left as it is."""
    # Within the first 65536, which is all that many containers have.
    user = 20_000 + os.getpid() % 40_000
    keep = not packages_are_public()

    try:
        if folder is not None:
            os.chown(folder, user, user)
        _prctl(PR_SET_KEEPCAPS, int(keep))
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    except OSError:
        return

    header = ctypes.create_string_buffer(struct.pack("Ii", CAPABILITY_VERSION, 0))
    right = 1 << CAP_DAC_READ_SEARCH if keep else 0
    # Effective, permitted, inheritable; the second three are rights number 32 and above.
    data = ctypes.create_string_buffer(struct.pack("6I", right, right, 0, 0, 0, 0))
    _libc.capset(header, data)


def packages_are_public() -> bool:
    """Say whether any user may read Python and the packages."""
    import torch

    places = {Path(sys.base_prefix), Path(torch.__file__).parent, Path(__file__).parent}

    # A link on the way leads through folders of its own.
    folders = {folder.resolve() for place in places for folder in (place, *place.parents)}
    folders |= {parent for folder in list(folders) for parent in folder.parents}

    return all(stat.S_IMODE(os.stat(folder).st_mode) & 0o005 == 0o005 for folder in folders)


def landlock_version() -> int:
    """Return the version of the kernel's Landlock, 0 where there is none."""
    if _libc is None:
        return 0
    return max(0, _libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1))


def _landlock(folder: str | None) -> None:
    """Ask the kernel to refuse what the tables above list, as far as it knows them."""
    version = landlock_version()
    if version == 0:
        return

    def rights(table: dict[int, int]) -> int:
        return sum(bits for since, bits in table.items() if since <= version)

    files, tcp, scopes = map(rights, (LANDLOCK_FILES, LANDLOCK_TCP, LANDLOCK_SCOPES))
    rules = struct.pack("QQQ", files, tcp, scopes)
    rules = rules[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _libc.syscall(LANDLOCK_CREATE, rules, ctypes.c_size_t(len(rules)), 0)

    _allow(ruleset, os.devnull, LANDLOCK_WRITE_FILE)
    if folder is not None:
        _allow(ruleset, folder, LANDLOCK_IN_FOLDER & files)

    _libc.syscall(LANDLOCK_RESTRICT, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    """Except a file, or a folder and all below it."""
    place = os.open(path, os.O_PATH)
    rule = struct.pack("=Qi", rights, place)
    _libc.syscall(LANDLOCK_ADD, ruleset, 1, rule, 0)
    os.close(place)
