"""Which system calls a process with a model may make.

What NumPy, SciPy, scikit-learn, pandas and Arrow need to compute, to import lazily and to start
threads. Everything that is not named here is refused.
"""

from __future__ import annotations

from collections.abc import Collection

from workers.sandbox.walls.bpf import ALWAYS, Check, Rule
from workers.sandbox.walls.syscalls import Architecture

# Answered with ENOSYS. Their flags lie in memory, where a filter cannot look: the C library then
# uses `clone` and `openat`.
UNKNOWN = ("clone3", "openat2")

_ALWAYS = (
    # Memory, threads and signals of the process itself
    "brk", "mremap", "munmap",
    "exit", "exit_group", "restart_syscall", "rseq", "sched_getaffinity", "sched_yield",
    "set_robust_list", "set_tid_address",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
    # Descriptors that are open
    "close", "fadvise64", "fstat", "getdents64", "lseek", "poll", "ppoll", "pread64", "pselect6",
    "read", "readv", "select", "write", "writev",
    # Names of files
    "access", "faccessat", "faccessat2", "getcwd", "lstat", "newfstatat", "readlink", "readlinkat",
    "stat", "statx",
    # Clocks and random numbers
    "clock_getres", "clock_gettime", "clock_nanosleep", "getrandom", "gettimeofday", "nanosleep",
    "time", "times",
    # Facts about the process and the machine
    "getcpu", "getegid", "geteuid", "getgid", "getpid", "getppid", "getresgid", "getresuid",
    "getrlimit", "getrusage", "gettid", "getuid", "sysinfo", "uname",
)  # fmt: skip

# include/uapi/linux/futex.h: WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET.
# Those that inherit priorities are left out: nothing here uses them, and they had most of the bugs.
_FUTEX = (0, 1, 3, 4, 5, 9, 10)
_FUTEX_OPTIONS = 128 | 256  # PRIVATE_FLAG, CLOCK_REALTIME

# include/uapi/asm-generic/mman-common.h
_READ, _WRITE, _EXECUTE = 1, 2, 4
_MAP_PRIVATE, _MAP_TYPE, _MAP_ANONYMOUS = 0x02, 0x0F, 0x20
# Memory that RLIMIT_DATA does not count
_MAP_GROWSDOWN, _MAP_HUGETLB = 0x100, 0x40000
# NORMAL, RANDOM, SEQUENTIAL, WILLNEED, DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE, DONTDUMP, DODUMP,
# GUARD_INSTALL, GUARD_REMOVE
_MADVISE = (0, 1, 2, 3, 4, 8, 14, 15, 16, 17, 102, 103)

# include/uapi/linux/sched.h: what pthread_create asks for (VM, FS, FILES, SIGHAND, THREAD, SYSVSEM,
# SETTLS, PARENT_SETTID, CHILD_CLEARTID, and musl's DETACHED), and of these THREAD always
_CLONE_THREAD = 0x10000
_CLONE = 0x3D0F00 | 0x400000

_PIPE = 0x80000 | 0x800  # O_CLOEXEC, O_NONBLOCK
_FCNTL = (1, 2, 3)  # F_GETFD, F_SETFD, F_GETFL
_IOCTL = (0x5401, 0x5413, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONCLEX, FIOCLEX

# include/uapi/linux/prctl.h: SET_NAME, GET_NAME, GET_DUMPABLE, GET_SECCOMP, CAPBSET_READ,
# GET_NO_NEW_PRIVS
_PRCTL = (15, 16, 3, 21, 23, 39)
# arch/x86/include/uapi/asm/prctl.h: GET_XCOMP_SUPP, GET_XCOMP_PERM, REQ_XCOMP_PERM. OpenBLAS asks
# for the registers of AMX.
_ARCH_PRCTL = (0x1021, 0x1022, 0x1023)


def rules(architecture: Architecture, pid: int, kept: Collection[int]) -> dict[str, Rule]:
    """Return the calls that a process may make, the most frequent first.

    Args:
        architecture: of the process.
        pid: of the process, the only one that it may send signals to.
        kept: the descriptors that were open before; no code is run from their memory.
    """
    open_read_only = Check(2, (0,), mask=0xFFFFFFFF & ~architecture.open_flags)
    at_path = Check(1, (0,), mask=0xFFFFFFFF & ~architecture.open_flags)
    itself = ((Check(0, (pid,)),),)
    counted = _MAP_GROWSDOWN | _MAP_HUGETLB
    return {
        "futex": ((Check(1, _FUTEX, mask=0xFFFFFFFF & ~_FUTEX_OPTIONS),),),
        "madvise": ((Check(2, _MADVISE),),),
        "mmap": (
            # Memory of its own. Shared memory is not counted by RLIMIT_DATA.
            (
                Check(2, (0,), mask=_EXECUTE, wide=True),
                Check(
                    3,
                    (_MAP_ANONYMOUS | _MAP_PRIVATE,),
                    mask=_MAP_ANONYMOUS | _MAP_TYPE | counted,
                    wide=True,
                ),
            ),
            # A file that is open
            (
                Check(2, (0,), mask=_EXECUTE, wide=True),
                Check(3, (0,), mask=_MAP_ANONYMOUS | counted, wide=True),
            ),
            # A library's code, from a file that it can only have opened for reading
            (
                Check(2, (_EXECUTE,), mask=_EXECUTE | _WRITE, wide=True),
                Check(3, (_MAP_PRIVATE,), mask=_MAP_ANONYMOUS | _MAP_TYPE | counted, wide=True),
                Check(4, tuple(sorted(kept)), inverted=True),
            ),
        ),
        "mprotect": ((Check(2, (0,), mask=0xFFFFFFFF & ~(_READ | _WRITE), wide=True),),),
        **dict.fromkeys(_ALWAYS, ALWAYS),
        "open": ((at_path,),),
        "openat": ((open_read_only,),),
        "clone": (
            (
                Check(0, (_CLONE_THREAD,), mask=_CLONE_THREAD),
                Check(0, (0,), mask=0xFFFFFFFF & ~_CLONE, wide=True),
            ),
        ),
        "pipe2": ((Check(1, (0,), mask=0xFFFFFFFF & ~_PIPE),),),  # joblib's pool of threads has one
        "fcntl": ((Check(1, _FCNTL),),),
        "ioctl": ((Check(1, _IOCTL),),),
        "kill": itself,
        "tgkill": itself,
        "prctl": ((Check(0, _PRCTL),),),
        "arch_prctl": ((Check(0, _ARCH_PRCTL),),),
        "prlimit64": ((Check(0, (0, pid)), Check(2, (0,), wide=True)),),
    }
