"""Takes rights away from the process that runs a learner's code. Linux only.

In this order, each step as far as the system lets us:

- limits: memory beyond what the process holds, size of files, open files, processor time, no core;
- no new processes or threads (RLIMIT_NPROC);
- root becomes a user of its own, different for each process; only if the installed packages cannot
  be read by others, the right to read any file stays;
- Landlock (Linux 5.13 and later, for every user): no writing to any file but /dev/null, no
  starting of programs, no TCP (Linux 6.7), no signals to processes outside (6.12);
- no regaining of rights by set-uid programs, and death with the parent.

Without root and without Landlock a submission runs with the instructor's own rights: it could
write where they may, and stop the grader. Then use a container.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import struct
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 8, 36, 38
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION = 0x20080522  # linux/capability.h, _LINUX_CAPABILITY_VERSION_3
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446  # the same on all processors
LANDLOCK_WRITE_FILE = 1 << 1
# linux/landlock.h: what each version of the interface added, besides reading files and folders.
LANDLOCK_FILES = {1: 0b1_1111_1111_0011, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
LANDLOCK_TCP, LANDLOCK_SCOPES = {4: 0b11}, {6: 0b11}
MAX_FILE_BYTES, MAX_OPEN_FILES = 1_000_000, 128

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def adopt_orphans() -> None:
    """From now on, descendants whose parent ends become this process's children."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def confine(seconds: float, megabytes: int) -> None:
    """Give up what a learner's function does not need.

    Args:
        seconds: of processor time, rounded up.
        megabytes: beyond what the process holds now.
    """
    os.umask(0o077)
    os.chdir("/")
    _limit(seconds, megabytes * 2**20)
    if os.geteuid() == 0:
        _become_nobody()
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _landlock()
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user resets this, so it comes last


def _prctl(option: int, value: int) -> None:
    _libc.prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3)


def _limit(seconds: float, more: int) -> None:
    import resource

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
    for name, value in limits.items():
        hard = resource.getrlimit(name)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


def _become_nobody() -> None:
    """Change to a user whom nobody else is; what fails (in some containers) is left as it is."""
    # Within the first 65536, which is all that many containers have.
    user = 20_000 + os.getpid() % 40_000
    keep = not packages_are_public()
    try:
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
    """Whether any user may read Python and the packages."""
    import torch

    places = {Path(sys.base_prefix), Path(torch.__file__).parent, Path(__file__).parent}
    folders = {folder.resolve() for place in places for folder in (place, *place.parents)}
    folders |= {parent for folder in list(folders) for parent in folder.parents}
    return all(stat.S_IMODE(os.stat(folder).st_mode) & 0o005 == 0o005 for folder in folders)


def _landlock() -> None:
    version = _libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return

    def rights(table: dict[int, int]) -> int:
        return sum(bits for since, bits in table.items() if since <= version)

    rules = struct.pack("QQQ", *map(rights, (LANDLOCK_FILES, LANDLOCK_TCP, LANDLOCK_SCOPES)))
    rules = rules[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _libc.syscall(LANDLOCK_CREATE, rules, ctypes.c_size_t(len(rules)), 0)
    nothing = os.open(os.devnull, os.O_PATH)
    rule = struct.pack("=Qi", LANDLOCK_WRITE_FILE, nothing)
    _libc.syscall(LANDLOCK_ADD, ruleset, 1, rule, 0)
    _libc.syscall(LANDLOCK_RESTRICT, ruleset, 0)
    os.close(nothing)
    os.close(ruleset)
