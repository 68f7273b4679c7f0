"""Read and write files, by names and by descriptors."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

from escapes.table import EACCES, EBADF, ENOSYS, EPERM, LIBC, call, escape


@escape(EPERM, rings=True)
def write_a_file(c: Any) -> None:
    Path(c.empty, "written").write_text("x")


@escape(EPERM, rings=True)
def append_to_a_file(c: Any) -> None:
    with open(c.watched, "a") as file:
        file.write("x")


@escape(EPERM)
def open_a_file_for_both(c: Any) -> None:
    open(c.watched, "r+b").close()


@escape(EPERM, control=(errno.EOPNOTSUPP,))
def make_a_file_without_a_name(c: Any) -> None:
    os.close(os.open(c.empty, os.O_TMPFILE | os.O_RDWR))


@escape(EPERM)
def hold_a_path_open(c: Any) -> None:
    os.close(os.open(c.empty, os.O_PATH))


@escape(ENOSYS)
def open_by_the_newer_call(c: Any) -> None:
    how = struct.pack("<QQQ", os.O_RDONLY, 0, 0)
    os.close(call("openat2", -100, ctypes.c_char_p(b"/usr"), ctypes.c_char_p(how), 24))


@escape("FileNotFoundError")
def make_a_temporary_file(c: Any) -> None:
    tempfile.TemporaryFile().close()


@escape(EPERM, rings=True)
def make_a_directory(c: Any) -> None:
    os.mkdir(c.empty + "/made")


@escape(EPERM, rings=True)
def make_a_fifo(c: Any) -> None:
    os.mkfifo(c.empty + "/fifo")


@escape(EPERM, root=True, rings=True)
def make_a_device(c: Any) -> None:
    os.mknod(c.empty + "/null", 0o020666, os.makedev(1, 3))


@escape(EPERM, rings=True)
def link_a_file(c: Any) -> None:
    os.link(c.watched, c.empty + "/link")


@escape(EPERM, rings=True)
def link_a_name(c: Any) -> None:
    os.symlink("/etc/passwd", c.empty + "/symlink")


@escape(EPERM, rings=True)
def rename_a_file(c: Any) -> None:
    os.rename(c.watched, c.empty + "/renamed")


@escape(EPERM, rings=True)
def rename_by_the_newer_call(c: Any) -> None:
    old, new = c.watched.encode(), (c.empty + "/renamed").encode()
    call("renameat2", -100, ctypes.c_char_p(old), -100, ctypes.c_char_p(new), 1)


@escape(EPERM, rings=True)
def remove_a_file(c: Any) -> None:
    os.unlink(c.watched)


@escape(EPERM, rings=True)
def truncate_a_file(c: Any) -> None:
    os.truncate(c.watched, 0)


@escape(EPERM, rings=True)
def change_a_files_mode(c: Any) -> None:
    os.chmod(c.watched, 0o777)


@escape(EPERM)
def change_a_files_owner(c: Any) -> None:
    os.chown(c.watched, os.getuid(), os.getgid())


@escape(EPERM, rings=True)
def change_a_files_times(c: Any) -> None:
    os.utime(c.watched, (0, 0))


@escape(EPERM, control=(errno.ENOTSUP,), rings=True)
def set_an_attribute_of_a_file(c: Any) -> None:
    os.setxattr(c.watched, "user.note", b"secret")


@escape(EBADF, rings=True)
def write_to_an_inherited_file(c: Any) -> None:
    os.write(c.inherited_file, b"secret")


@escape(EPERM, rings=True)
def write_to_an_inherited_file_by_its_name_in_proc(c: Any) -> None:
    with open(f"/proc/self/fd/{c.inherited_file}", "ab") as file:
        file.write(b"secret")


@escape(errno.EFBIG, rings=True)
def write_to_a_kept_file(c: Any) -> None:
    """Try the kernel's limit on the size of files."""
    os.write(c.kept[0], b"secret")


@escape(EPERM)
def reopen_a_kept_descriptor(c: Any) -> None:
    open(f"/proc/self/fd/{c.kept[0]}", "r+b").close()


@escape(EPERM)
def shrink_shared_memory(c: Any) -> None:
    os.ftruncate(c.kept[1], 0)


@escape(errno.EFBIG)
def grow_shared_memory(c: Any) -> None:
    os.lseek(c.kept[1], 0, os.SEEK_END)
    os.write(c.kept[1], b"x" * 4096)


@escape(EPERM)
def seal_shared_memory(c: Any) -> None:
    fcntl.fcntl(c.kept[1], fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)


@escape(EPERM)
def copy_a_descriptor(c: Any) -> None:
    os.close(os.dup(c.kept[0]))


@escape(EPERM, rings=True)
def lock_a_file_against_others(c: Any) -> None:
    fcntl.flock(c.kept[0], fcntl.LOCK_EX)
    os.write(c.kept[0], b"locked")


@escape(EACCES)
def read_a_secret_file(c: Any) -> str:
    return Path(c.secret).read_text()


@escape(EACCES)
def read_the_users_of_the_system(c: Any) -> str:
    return Path("/etc/passwd").read_text()


@escape(EACCES)
def list_a_directory(c: Any) -> list[str]:
    return os.listdir(Path(c.secret).parent)


@escape(EACCES)
def list_the_processes(c: Any) -> list[str]:
    return os.listdir("/proc")


@escape(EACCES)
def read_the_settings_beside_the_code(c: Any) -> str:
    import workers

    return (Path(workers.__path__[0]).parent / "pyproject.toml").read_text()


@escape(EACCES)
def read_its_own_initial_environment(c: Any) -> str:
    return Path("/proc/self/environ").read_text()


@escape("KeyError")
def read_its_environment(c: Any) -> str:
    return os.environ["MLSYS_PLANTED"]


@escape("KeyError")
def read_the_c_librarys_environment(c: Any) -> str:
    LIBC.getenv.restype = ctypes.c_char_p
    if (value := LIBC.getenv(b"MLSYS_PLANTED")) is None:
        raise KeyError("MLSYS_PLANTED")
    return value.decode()


@escape(EPERM)
def write_its_own_memory_file(c: Any) -> None:
    open("/proc/self/mem", "r+b").close()


@escape(EPERM, control=(errno.EOPNOTSUPP, errno.EOVERFLOW))
def look_a_handle_of_a_file_up(c: Any) -> None:
    handle = ctypes.create_string_buffer(struct.pack("<Ii", 128, 0), 136)
    mount = ctypes.c_int()
    call("name_to_handle_at", -100, ctypes.c_char_p(b"/usr"), handle, ctypes.byref(mount), 0)


@escape(EPERM)
def watch_files(c: Any) -> None:
    os.close(call("inotify_init1", 0))


@escape(EPERM, control=(errno.EINVAL,), root=True)
def watch_all_files(c: Any) -> None:
    os.close(call("fanotify_init", 0, 0))


@escape(EPERM)
def change_directory(c: Any) -> None:
    os.chdir("/")


@escape(EPERM, root=True)
def change_root(c: Any) -> None:
    os.chroot(c.empty)


@escape(EPERM, EACCES, root=True)
def read_the_kernels_messages(c: Any) -> None:
    os.close(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK))


@escape(EPERM, root=True)
def ask_for_the_kernels_messages(c: Any) -> None:
    call("syslog", 10, 0, 0)


@escape(EACCES, cannot="a test has no terminal")
def open_the_terminal(c: Any) -> None:
    os.close(os.open("/dev/tty", os.O_RDONLY))


@escape(EPERM)
def move_bytes_between_descriptors(c: Any) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"x")
    _, other = os.pipe()
    call("splice", ours, 0, other, 0, 1, 0)
