"""The filter's program, run by an interpreter of the few BPF instructions that it uses."""

import errno
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from workers.sandbox.walls import bpf, landlock, policy
from workers.sandbox.walls.bpf import ALLOW, KILL_PROCESS, Check, Instruction, assemble
from workers.sandbox.walls.syscalls import ARM64, NEWEST, X86_64, Architecture

PID = 4321
KEPT = (0, 1, 2, 7)
REFUSE, UNKNOWN = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
NAMES = {ALLOW: "allow", REFUSE: "EPERM", UNKNOWN: "ENOSYS", KILL_PROCESS: "kill"}
BOTH = pytest.mark.parametrize("architecture", [X86_64, ARM64], ids=lambda a: a.name)

READ, WRITE, EXECUTE = 1, 2, 4
PRIVATE, SHARED, ANONYMOUS, GROWSDOWN, HUGETLB = 2, 1, 0x20, 0x100, 0x40000
FIXED, STACK = 0x10, 0x20000
PTHREAD = 0x3D0F00


def run(
    program: Sequence[Instruction], number: int, audit: int, arguments: Sequence[int] = ()
) -> str:
    """Return the program's verdict on a call."""
    words = [number, audit, 0, 0]
    for value in (*arguments, 0, 0, 0, 0, 0, 0)[:6]:
        words += [value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF]
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == bpf.RETURN:
            return NAMES[value]
        if code == bpf.LOAD:
            accumulator = words[value // 4]
        elif code == bpf.AND:
            accumulator &= value
        elif code == bpf.JUMP_EQUAL:
            at += if_true if accumulator == value else if_false
        elif code == bpf.JUMP_GREATER_OR_EQUAL:
            at += if_true if accumulator >= value else if_false
        else:
            raise AssertionError(f"unknown instruction {code:#x}")


def program(architecture: Architecture) -> list[Instruction]:
    """Return the filter of a process."""
    rules = policy.rules(architecture, PID, KEPT)
    return assemble(architecture, rules, policy.UNKNOWN, NEWEST)


def answer(architecture: Architecture, name: str, *arguments: int) -> str:
    """Return the filter's verdict on a call."""
    number = architecture.numbers[name]
    return run(program(architecture), number, architecture.audit, arguments)


def headers() -> dict[str, dict[str, int]]:
    """Return the numbers of both architectures from this machine's C headers, if installed."""
    numbers: dict[str, dict[str, int]] = {}
    for name, path in (
        (X86_64.name, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        (ARM64.name, "/usr/include/asm-generic/unistd.h"),
    ):
        if Path(path).exists():
            found = re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", Path(path).read_text())
            numbers[name] = {("newfstatat" if n == "fstatat" else n): int(v) for n, v in found}
    return numbers


@BOTH
def test_call_numbers_match_the_kernels_headers(architecture: Architecture) -> None:
    """A wrong number would allow a different call."""
    known = headers().get(architecture.name)
    if known is None:
        pytest.skip("the kernel's headers are not installed")
    assert {n: known.get(n) for n in architecture.numbers} == dict(architecture.numbers)


@BOTH
def test_call_numbers_without_a_rule_are_refused(architecture: Architecture) -> None:
    """The filter is an allow-list; calls that are newer than it get ENOSYS."""
    code = program(architecture)
    named = {architecture.numbers.get(n) for n in policy.rules(architecture, PID, KEPT)}
    unknown = {architecture.numbers[n] for n in policy.UNKNOWN}
    for number in range(600):
        result = run(code, number, architecture.audit)
        if number in unknown or number > NEWEST:
            assert result == "ENOSYS", number
        elif number not in named:
            assert result == "EPERM", number
    assert len(code) < 4096  # BPF_MAXINSNS


@BOTH
def test_calls_of_other_architectures_kill_the_process(architecture: Architecture) -> None:
    """Their numbers mean other calls: 32-bit x86, 32-bit ARM, the other 64-bit one."""
    code = program(architecture)
    for audit in {0x40000003, 0x40000028, X86_64.audit, ARM64.audit} - {architecture.audit}:
        assert run(code, architecture.numbers["read"], audit) == "kill"


def test_x32_is_refused() -> None:
    """Its calls are x86-64's with a bit set in the number."""
    code = program(X86_64)
    for number in (0, 1, 41, 59, 512, 520, 547):
        assert run(code, 0x40000000 | number, X86_64.audit) == "EPERM"


CLONE_NEW = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]
OPEN_READ = {
    X86_64.name: [0, 0x80000, 0x90800, 0x10000, 0x20000 | 0x8000, 0x100],
    ARM64.name: [0, 0x80000, 0x84800, 0x4000, 0x8000 | 0x20000, 0x100],
}
OPEN_REFUSED = {  # WRONLY, RDWR, 3, CREAT, EXCL, TRUNC, APPEND, O_PATH, __O_TMPFILE, FASYNC
    X86_64.name: [1, 2, 3, 0x40, 0x80, 0x200, 0x400, 0x200000, 0x410000, 0x2000, 0x80002],
    ARM64.name: [1, 2, 3, 0x40, 0x80, 0x200, 0x400, 0x200000, 0x404000, 0x2000, 0x80002],
}


@BOTH
def test_files_can_be_opened_only_for_reading(architecture: Architecture) -> None:
    """Every flag that is not known to be for reading is refused."""
    for flags in OPEN_READ[architecture.name]:
        assert answer(architecture, "openat", 0xFFFFFF9C, 0, flags) == "allow", hex(flags)
    for flags in OPEN_REFUSED[architecture.name]:
        assert answer(architecture, "openat", 0xFFFFFF9C, 0, flags) == "EPERM", hex(flags)
        if "open" in architecture.numbers:
            assert answer(architecture, "open", 0, flags) == "EPERM", hex(flags)
    allowed = {
        bit for bit in range(32) if answer(architecture, "openat", 0, 0, 1 << bit) != "EPERM"
    }
    assert sum(1 << bit for bit in allowed) == architecture.open_flags


@BOTH
def test_threads_can_be_started_and_processes_cannot(architecture: Architecture) -> None:
    """Only pthread_create's form of `clone` is allowed; the upper half of the flags counts too."""
    assert answer(architecture, "clone", PTHREAD) == "allow"
    assert answer(architecture, "clone", PTHREAD | 0x400000) == "allow"  # musl
    refused = [0, 17, 0x1200011, 0x4111, PTHREAD & ~0x10000, PTHREAD | 17, PTHREAD | 1 << 32]
    for flags in (*refused, *(PTHREAD | new for new in CLONE_NEW)):
        assert answer(architecture, "clone", flags) == "EPERM", hex(flags)
    assert answer(architecture, "clone3", 0, 0) == "ENOSYS"
    assert answer(architecture, "openat2", 0, 0) == "ENOSYS"


@BOTH
def test_memory_is_never_both_writable_and_executable(architecture: Architecture) -> None:
    """Libraries' code is mapped from files, which can only be open for reading."""
    cases = {
        (READ | WRITE, PRIVATE | ANONYMOUS, -1): "allow",
        (0, PRIVATE | ANONYMOUS | STACK | FIXED, -1): "allow",
        (READ | WRITE, SHARED, 7): "allow",
        (READ, PRIVATE, 9): "allow",
        (READ | EXECUTE, PRIVATE | FIXED, 9): "allow",
        (READ | EXECUTE, PRIVATE, 7): "EPERM",  # shared memory that it can write
        (READ | EXECUTE, SHARED, 9): "EPERM",
        (READ | EXECUTE, PRIVATE | ANONYMOUS, -1): "EPERM",
        (EXECUTE, PRIVATE | ANONYMOUS, -1): "EPERM",
        (READ | WRITE | EXECUTE, PRIVATE, 9): "EPERM",
        (READ | WRITE | EXECUTE, PRIVATE | ANONYMOUS, -1): "EPERM",
        # Memory that RLIMIT_DATA does not count
        (READ | WRITE, SHARED | ANONYMOUS, -1): "EPERM",
        (READ | WRITE, 3 | ANONYMOUS, -1): "EPERM",
        (READ | WRITE, PRIVATE | ANONYMOUS | GROWSDOWN, -1): "EPERM",
        (READ | WRITE, PRIVATE | GROWSDOWN, 9): "EPERM",
        (READ | WRITE, PRIVATE | ANONYMOUS | HUGETLB, -1): "EPERM",
        (READ | 1 << 32, PRIVATE | ANONYMOUS, -1): "EPERM",
    }
    for (prot, flags, fd), expected in cases.items():
        result = answer(architecture, "mmap", 0, 4096, prot, flags, fd & 0xFFFFFFFF, 0)
        assert result == expected, (prot, hex(flags), fd)
    assert [answer(architecture, "mprotect", 0, 4096, prot) for prot in (0, 1, 3)] == ["allow"] * 3
    for prot in (4, 5, 7, 0x1000003, 1 << 32):
        assert answer(architecture, "mprotect", 0, 4096, prot) == "EPERM"


@BOTH
def test_signals_can_be_sent_only_to_the_process_itself(architecture: Architecture) -> None:
    """`abort` and `raise` need it; groups and broadcasts (0, -1) are other processes."""
    for name in ("kill", "tgkill"):
        assert answer(architecture, name, PID, PID, 6) == "allow"
        for target in (PID - 1, 1, 0, 0xFFFFFFFF, 0x100000000 - PID, (1 << 64) - 1):
            assert answer(architecture, name, target, PID, 9) == "EPERM", target


@BOTH
def test_arguments_of_the_remaining_calls_are_checked(architecture: Architecture) -> None:
    """Reading a value is allowed, setting one is refused."""
    for name, position, allowed, refused in (
        ("prctl", 0, (15, 16, 3), (1, 4, 8, 22, 24, 31, 38, 41, 47, 0x53564D41)),
        ("fcntl", 1, (1, 2, 3), (0, 4, 6, 8, 10, 1024, 1030, 1031, 1033)),
        ("ioctl", 1, (0x5401, 0x5413, 0x5450, 0x5451), (0x5412, 0x541C, 0x5452, 0x8901, 0x8902)),
        ("madvise", 2, (0, 4, 8, 14), (9, 10, 12, 18, 100)),
        ("pipe2", 1, (0, 0x80000, 0x80800), (0x80, 0x4000)),
        ("futex", 1, (0, 128, 129, 137, 393, 5), (6, 7, 134, 11, 12, 13)),
    ):
        for values, expected in ((allowed, "allow"), (refused, "EPERM")):
            for value in values:
                arguments = [0] * position + [value]
                assert answer(architecture, name, *arguments) == expected, (name, value)
    assert answer(architecture, "prlimit64", 0, 7, 0, 1) == "allow"
    assert answer(architecture, "prlimit64", PID, 7, 0, 1) == "allow"
    for arguments in ((0, 7, 1, 0), (0, 7, 1 << 40, 0), (PID - 1, 7, 0, 1)):
        assert answer(architecture, "prlimit64", *arguments) == "EPERM", arguments


def test_arm64_has_no_arch_prctl() -> None:
    """A rule without a number on an architecture is left out; x86-64's is for registers."""
    assert "arch_prctl" not in ARM64.numbers
    assert answer(X86_64, "arch_prctl", 0x1023, 18) == "allow"
    assert answer(X86_64, "arch_prctl", 0x1002, 0) == "EPERM"


def test_a_rule_is_allowed_by_any_of_its_alternatives() -> None:
    """All checks of an alternative must hold, and one alternative suffices."""
    rule = (
        (Check(0, (1, 2), wide=True), Check(1, (5,), inverted=True)),
        (Check(0, (0x10,), mask=0xF0),),
    )
    code = assemble(X86_64, {"read": rule}, (), NEWEST)
    results = {
        arguments: run(code, 0, X86_64.audit, arguments)
        for arguments in ((1, 4), (2, 4), (2, 5), (3, 4), (1 | 1 << 32, 4), (0x1F, 5), (1 << 32, 4))
    }
    assert [a for a, result in results.items() if result == "allow"] == [(1, 4), (2, 4), (0x1F, 5)]
    with pytest.raises(ValueError, match="never holds"):
        Check(0, ())
    with pytest.raises(ValueError, match="too long"):
        assemble(X86_64, {"read": ((Check(0, tuple(range(300))),),)}, (), NEWEST)


def test_landlock_gets_only_the_rights_that_its_version_knows() -> None:
    """A version refuses rights that it does not know."""
    known = {abi: landlock.handled(abi) for abi in range(1, 9)}
    assert known[1] == (0x1FFF, 0, 0, 8)
    assert known[2] == (0x3FFF, 0, 0, 8)
    assert known[3] == (0x7FFF, 0, 0, 8)
    assert known[4] == (0x7FFF, 3, 0, 16)
    assert known[5] == (0xFFFF, 3, 0, 16)
    assert known[6] == known[7] == known[8] == (0xFFFF, 3, 3, 24)
