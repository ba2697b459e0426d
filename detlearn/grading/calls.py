"""The system calls that a child may not make, forbidden through libseccomp.

- What stays in the kernel when a child is gone: the view of one exercise may hold what another one
  asks for, so no child may leave a word for the next.
- What starts a process, a thread or another program, and what changes the keeper.
- Connections, which not all of the system keeps apart by namespaces (vsock).
- Wide doors into the kernel that no notebook needs.
"""

from __future__ import annotations

import ctypes
import errno
import socket

LIBRARY = "libseccomp.so.2"
ALLOW, REFUSE = 0x7FFF0000, 0x00050000  # seccomp.h: SCMP_ACT_ALLOW, SCMP_ACT_ERRNO
NOT_EQUAL = 1  # SCMP_CMP_NE

# The error → the calls that fail with it.
FORBIDDEN = {
    errno.EPERM: (
        # They stay when the process is gone: keys, POSIX's and System V's messages, memory,
        # semaphores.
        *("add_key", "request_key", "keyctl", "mq_open", "msgget", "shmget", "semget"),
        # Wide doors.
        *("bpf", "io_uring_setup", "perf_event_open", "userfaultfd"),
        # Another program.
        *("execve", "execveat"),
        # The keeper's priority and processors, which it leaves to the next child.
        *("setpriority", "ioprio_set", "sched_setaffinity", "sched_setattr", "sched_setparam"),
        "sched_setscheduler",
    ),
    # Another process or thread. Without clone3 clone is used.
    errno.EAGAIN: ("fork", "vfork", "clone"),
    errno.ENOSYS: ("clone3",),
}


class _Condition(ctypes.Structure):
    """On an argument of a call: libseccomp's struct scmp_arg_cmp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("comparison", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("unused", ctypes.c_uint64),
    )


class Forbidden:
    """The filter for a child; made before the child is, so that the library is loaded once.

    Raises:
        OSError: if the library is missing.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL(LIBRARY)
        self._library.seccomp_init.restype = ctypes.c_void_p

    def enforce(self) -> None:
        """Forbid the calls for as long as this process lives.

        Raises:
            OSError: if the system does not do it.
        """
        rules = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(ALLOW)))

        for number, names in FORBIDDEN.items():
            for name in names:
                self._refuse(rules, name, number)

        # The limits of another process than this one, which is 0.
        self._refuse(rules, "prlimit64", errno.EPERM, _Condition(0, NOT_EQUAL, 0, 0))
        no_unix = _Condition(0, NOT_EQUAL, socket.AF_UNIX, 0)
        self._refuse(rules, "socket", errno.EAFNOSUPPORT, no_unix)

        self._done(self._library.seccomp_load(rules), "seccomp_load")

    def _refuse(
        self, rules: ctypes.c_void_p, name: str, number: int, *conditions: _Condition
    ) -> None:
        """Have a call fail with an error's number, where the conditions hold."""
        call = self._library.seccomp_syscall_resolve_name(name.encode())
        action = ctypes.c_uint32(REFUSE | number)
        array = (_Condition * len(conditions))(*conditions)
        count = ctypes.c_uint(len(conditions))
        self._done(self._library.seccomp_rule_add_array(rules, action, call, count, array), name)

    @staticmethod
    def _done(result: int, what: str) -> None:
        if result < 0:
            raise OSError(-result, f"a system call cannot be forbidden ({what})")
