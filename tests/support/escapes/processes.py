"""Run programs, start processes, and reach those that run."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import signal
import struct
import subprocess
from pathlib import Path
from typing import Any

from escapes.table import EACCES, ENOSYS, EPERM, LIBC, ONLY_ROOT_TRACES, call, escape


@escape(EPERM)
def run_a_program_in_place(c: Any) -> None:
    os.execv("/bin/true", ["true"])


@escape(EPERM, EACCES)
def run_a_program_by_number(c: Any) -> None:
    descriptor = os.open("/usr/bin/true", os.O_RDONLY)
    vector = (ctypes.c_char_p * 2)(b"true", None)
    empty = (ctypes.c_char_p * 1)(None)
    call("execveat", descriptor, ctypes.c_char_p(b""), vector, empty, 0x1000)


@escape(EPERM)
def fork(c: Any) -> None:
    if not (pid := os.fork()):
        os._exit(0)
    os.waitpid(pid, 0)


@escape(EPERM)
def clone_a_process_by_number(c: Any) -> None:
    if not (pid := call("clone", int(signal.SIGCHLD), 0, 0, 0, 0)):
        os._exit(0)
    os.waitpid(pid, 0)


@escape(ENOSYS)
def clone3_a_process(c: Any) -> None:
    arguments = struct.pack("<8Q", 0, 0, 0, 0, int(signal.SIGCHLD), 0, 0, 0)
    if not (pid := call("clone3", ctypes.c_char_p(arguments), len(arguments))):
        os._exit(0)
    os.waitpid(pid, 0)


@escape(EPERM, root=True)
def clone_into_new_namespaces(c: Any) -> None:
    flags = 0x10000000 | 0x40000000 | 0x20000 | int(signal.SIGCHLD)  # NEWUSER, NEWNET, NEWNS
    if not (pid := call("clone", flags, 0, 0, 0, 0)):
        os._exit(0)
    os.waitpid(pid, 0)


@escape(EPERM, root=True)
def unshare_namespaces(c: Any) -> None:
    os.unshare(os.CLONE_NEWNS)


@escape(EPERM, EACCES, root=True)
def enter_a_namespace(c: Any) -> None:
    call("setns", os.open("/proc/self/ns/mnt", os.O_RDONLY), 0)


@escape(EPERM)
def spawn(c: Any) -> None:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


@escape(EPERM)
def run_a_subprocess(c: Any) -> None:
    subprocess.run(["/bin/true"], check=True)


@escape("ChildProcessError")
def run_a_shell(c: Any) -> None:
    if status := LIBC.system(b"exit 0"):
        raise ChildProcessError(status)


@escape(EPERM)
def start_a_process_of_multiprocessing(c: Any) -> None:
    import multiprocessing

    multiprocessing.process.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    process.join()


@escape(EPERM, EACCES, root=ONLY_ROOT_TRACES)
def read_the_parents_memory_file(c: Any) -> str:
    with open(f"/proc/{c.parent}/mem", "rb", 0) as file:
        file.seek(c.address)
        return file.read(c.length).decode()


@escape(EACCES, root=ONLY_ROOT_TRACES)
def read_the_parents_environment(c: Any) -> str:
    return Path(f"/proc/{os.getppid()}/environ").read_bytes().decode()


@escape(EPERM, root=ONLY_ROOT_TRACES)
def read_the_parents_memory_by_number(c: Any) -> str:
    buffer = ctypes.create_string_buffer(c.length)
    ours = struct.pack("<QQ", ctypes.addressof(buffer), c.length)
    theirs = struct.pack("<QQ", c.address, c.length)
    call("process_vm_readv", c.parent, ctypes.c_char_p(ours), 1, ctypes.c_char_p(theirs), 1, 0)
    return buffer.raw.decode()


@escape(EPERM, rings=True, root=ONLY_ROOT_TRACES)
def write_into_the_parents_memory(c: Any) -> None:
    buffer = ctypes.create_string_buffer(b"forged")
    ours = struct.pack("<QQ", ctypes.addressof(buffer), 6)
    theirs = struct.pack("<QQ", c.scratch, 6)
    call("process_vm_writev", c.parent, ctypes.c_char_p(ours), 1, ctypes.c_char_p(theirs), 1, 0)


@escape(EPERM, root=ONLY_ROOT_TRACES)
def trace_the_parent(c: Any) -> None:
    call("ptrace", 0x4206, os.getppid(), 0, 0)  # PTRACE_SEIZE, which does not stop it


@escape(EPERM)
def be_traced_by_the_parent(c: Any) -> None:
    call("ptrace", 0, 0, 0, 0)  # PTRACE_TRACEME


@escape(EPERM)
def open_the_parent_by_pidfd(c: Any) -> None:
    os.close(call("pidfd_open", os.getppid(), 0))


@escape(EPERM, root=ONLY_ROOT_TRACES)
def take_a_descriptor_of_the_parents(c: Any) -> None:
    descriptor = call("pidfd_open", os.getppid(), 0)
    os.close(call("pidfd_getfd", descriptor, 0, 0))


@escape(EPERM, root=ONLY_ROOT_TRACES)
def compare_with_the_parent(c: Any) -> None:
    call("kcmp", os.getpid(), os.getppid(), 1, 0, 0)


@escape(EPERM, rings=True)
def signal_the_parent(c: Any) -> None:
    os.kill(os.getppid(), signal.SIGUSR1)


@escape(EPERM, rings=True)
def signal_the_group(c: Any) -> None:
    os.kill(0, signal.SIGUSR1)


@escape(EPERM, rings=True)
def signal_the_group_by_its_number(c: Any) -> None:
    os.killpg(os.getpgid(os.getppid()), signal.SIGUSR1)


@escape(EPERM)
def signal_everybody(c: Any) -> None:
    os.kill(-1, 0)  # only asks whether it may


@escape(EPERM, rings=True)
def signal_a_thread_of_the_parent(c: Any) -> None:
    call("tgkill", os.getppid(), os.getppid(), int(signal.SIGUSR1))


@escape(EPERM, rings=True)
def signal_a_thread_by_its_number_alone(c: Any) -> None:
    call("tkill", os.getppid(), int(signal.SIGUSR1))


@escape(EPERM, rings=True)
def queue_a_signal_for_the_parent(c: Any) -> None:
    information = struct.pack("<iii", int(signal.SIGUSR1), 0, -1).ljust(128, b"\0")  # SI_QUEUE
    number = int(signal.SIGUSR1)
    call("rt_sigqueueinfo", os.getppid(), number, ctypes.c_char_p(information))


@escape(EPERM, rings=True)
def have_the_kernel_signal_the_parent(c: Any) -> None:
    """Have a descriptor signal its owner."""
    ours, theirs = os.pipe()
    fcntl.fcntl(ours, fcntl.F_SETOWN, os.getppid())
    fcntl.fcntl(ours, 10, int(signal.SIGUSR1))  # F_SETSIG
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC)
    os.write(theirs, b"x")


@escape(EPERM)
def make_a_timer_that_signals(c: Any) -> None:
    call("timer_create", 0, 0, ctypes.byref(ctypes.c_int()))


@escape(EPERM)
def slow_the_parent_down(c: Any) -> None:
    os.setpriority(os.PRIO_PROCESS, os.getppid(), os.getpriority(os.PRIO_PROCESS, os.getppid()))


@escape(EPERM)
def move_the_parent_to_a_processor(c: Any) -> None:
    os.sched_setaffinity(os.getppid(), os.sched_getaffinity(os.getppid()))


@escape(EPERM)
def change_the_parents_limits(c: Any) -> None:
    limits = resource.prlimit(os.getppid(), resource.RLIMIT_CORE)
    resource.prlimit(os.getppid(), resource.RLIMIT_CORE, limits)


@escape(EPERM)
def leave_the_group(c: Any) -> None:
    os.setpgid(0, 0)


@escape(EPERM, control=(errno.EINVAL, errno.E2BIG, errno.ENOENT), root=True)
def open_a_performance_counter(c: Any) -> None:
    call("perf_event_open", ctypes.create_string_buffer(128), 0, -1, -1, 0)
