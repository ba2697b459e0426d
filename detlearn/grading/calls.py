"""The system calls that a child may not make, forbidden through libseccomp.

- What stays in the kernel when a child is gone: the view of one exercise may hold what another one
  asks for, so no child may leave a word for the next.
- What starts a process or another program, and what changes the keeper.
- Connections, which not all of the system keeps apart by namespaces (vsock).
- Wide doors into the kernel that no notebook needs.
"""

from __future__ import annotations

import ctypes
import errno
import socket

LIBRARY = "libseccomp.so.2"
ALLOW, REFUSE = 0x7FFF0000, 0x00050000  # seccomp.h: SCMP_ACT_ALLOW, SCMP_ACT_ERRNO
NOT_EQUAL, MASKED_EQUAL = 1, 7  # SCMP_CMP_NE, SCMP_CMP_MASKED_EQ
CLONE_THREAD = 0x00010000  # linux/sched.h

FORBIDDEN = (
    # They stay when the process is gone: keys, POSIX's and System V's messages, memory, semaphores.
    *("add_key", "request_key", "keyctl", "mq_open", "msgget", "shmget", "semget"),
    # Wide doors.
    *("bpf", "io_uring_setup", "perf_event_open", "userfaultfd"),
    # Another program.
    *("execve", "execveat"),
)
# The argument that names a process, which may only be 0: this one.
OF_THIS_PROCESS = {
    "prlimit64": 0,
    "setpriority": 1,
    "ioprio_set": 1,
    "sched_setaffinity": 0,
    "sched_setattr": 0,
    "sched_setparam": 0,
    "sched_setscheduler": 0,
}


class _Condition(ctypes.Structure):
    """On an argument of a call: libseccomp's struct scmp_arg_cmp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("comparison", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
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

        for name in FORBIDDEN:
            self._refuse(rules, name, errno.EPERM)
        for name, argument in OF_THIS_PROCESS.items():
            self._refuse(rules, name, errno.EPERM, _Condition(argument, NOT_EQUAL, 0, 0))

        no_unix = _Condition(0, NOT_EQUAL, socket.AF_UNIX, 0)
        self._refuse(rules, "socket", errno.EAFNOSUPPORT, no_unix)

        # Processes, not threads. clone3's flags cannot be seen, and without it clone is used.
        for name in ("fork", "vfork"):
            self._refuse(rules, name, errno.EAGAIN)
        no_thread = _Condition(0, MASKED_EQUAL, CLONE_THREAD, 0)
        self._refuse(rules, "clone", errno.EAGAIN, no_thread)
        self._refuse(rules, "clone3", errno.ENOSYS)

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
