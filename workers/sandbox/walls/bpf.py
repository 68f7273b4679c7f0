"""A system-call filter as a program of classic BPF.

The kernel runs the program before every system call, on `struct seccomp_data` (the number, the
architecture, the instruction pointer and six arguments of 64 bits); it knows no loops and no
pointers. https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from workers.sandbox.walls.syscalls import Architecture

# include/uapi/linux/bpf_common.h
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_GREATER_OR_EQUAL = 0x35  # BPF_JMP | BPF_JGE | BPF_K
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

# include/uapi/linux/seccomp.h
KILL_PROCESS = 0x80000000
ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EPERM
UNKNOWN = 0x00050000 | errno.ENOSYS

_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_ALL = 0xFFFFFFFF


class Instruction(NamedTuple):
    """`struct sock_filter`; the jumps count instructions after the next."""

    code: int
    if_true: int
    if_false: int
    value: int


@dataclass(frozen=True)
class Check:
    """One argument's bits under `mask` are one of `values`, or none of them if `inverted`.

    The upper 32 bits of an argument are not looked at, since the kernel drops them from an `int`.
    If it does not, the argument is `wide`: they must be zero.
    """

    argument: int
    values: tuple[int, ...]
    mask: int = _ALL
    inverted: bool = False
    wide: bool = False

    def __post_init__(self) -> None:
        if not self.values and not self.inverted:
            raise ValueError("A check without values never holds. Leave the call out.")


# A call is allowed if all checks of one alternative hold: no alternative refuses it, an empty one
# allows it always.
Rule = tuple[tuple[Check, ...], ...]
ALWAYS: Rule = ((),)


def assemble(
    architecture: Architecture,
    allowed: Mapping[str, Rule],
    unknown: Sequence[str],
    newest: int,
) -> list[Instruction]:
    """Return a program that allows calls by rules and answers every other call with EPERM.

    Names that the architecture does not have are left out. The calls in `unknown`, and those with
    numbers past `newest`, are answered with ENOSYS, so that the C library falls back to older
    calls. A call of another architecture kills the process: its numbers mean other calls.
    """
    program = [
        Instruction(LOAD, 0, 0, _ARCHITECTURE),
        Instruction(JUMP_EQUAL, 1, 0, architecture.audit),
        Instruction(RETURN, 0, 0, KILL_PROCESS),
        Instruction(LOAD, 0, 0, _NUMBER),
    ]
    if architecture.foreign_bit is not None:
        program += [
            Instruction(JUMP_GREATER_OR_EQUAL, 0, 1, architecture.foreign_bit),
            Instruction(RETURN, 0, 0, REFUSE),
        ]
    program += [
        Instruction(JUMP_GREATER_OR_EQUAL, 0, 1, newest + 1),
        Instruction(RETURN, 0, 0, UNKNOWN),
    ]
    for name, rule in allowed.items():
        if (number := architecture.numbers.get(name)) is not None:
            body = [i for checks in rule for i in _alternative(checks)]
            if () not in rule:
                body.append(Instruction(RETURN, 0, 0, REFUSE))
            program += [Instruction(JUMP_EQUAL, 0, len(body), number), *body]
    for name in unknown:
        program += [
            Instruction(JUMP_EQUAL, 0, 1, architecture.numbers[name]),
            Instruction(RETURN, 0, 0, UNKNOWN),
        ]
    program.append(Instruction(RETURN, 0, 0, REFUSE))
    if any(max(i.if_true, i.if_false) > 255 for i in program):
        raise ValueError("A rule is too long for a jump of BPF. Split it.")
    return program


def _alternative(checks: Sequence[Check]) -> list[Instruction]:
    """Return code that allows the call if all checks hold, and runs past its end if not."""
    code = [Instruction(RETURN, 0, 0, ALLOW)]
    for check in reversed(checks):
        code = _check(check, len(code)) + code
    return code


def _check(check: Check, rest: int) -> list[Instruction]:
    """Return code that goes on if the check holds, and else jumps over `rest` instructions."""
    low = _ARGUMENTS + 8 * check.argument
    code = [Instruction(LOAD, 0, 0, low)]
    if check.mask != _ALL:
        code.append(Instruction(AND, 0, 0, check.mask))
    for left in reversed(range(len(check.values))):  # comparisons after this one
        value = check.values[len(check.values) - 1 - left]
        if check.inverted:
            code.append(Instruction(JUMP_EQUAL, left + rest, 0, value))
        else:
            code.append(Instruction(JUMP_EQUAL, left, 0 if left else rest, value))
    if check.wide:  # little-endian on both architectures
        high = Instruction(JUMP_EQUAL, 0, len(code) + rest, 0)
        code = [Instruction(LOAD, 0, 0, low + 4), high, *code]
    return code
