"""Read a pickle of plain containers and numpy arrays without ever running what is in it.

A pickle is a program for a small stack machine; `pickle.Unpickler` runs it, importing and calling whatever the file
names. This module is another machine for the same programs, without instructions to import or call: the few names
that a file of arrays needs (`pickled_arrays.NAMES`) are recognised by their spelling and emulated there, every
other name and instruction is refused. Bounds on instructions and bytes keep a small file from exhausting the
memory; bytes are read from the file directly into the arrays.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .pickled_arrays import NAMES, ArrayReader, Name, RefusedError, described

MAX_OPCODES = 1_000_000
"""Maximum instructions per file; a checkpoint of 1000 arrays needs about 30,000. Each may allocate 64 bytes."""
MAX_NAME_BYTES = 4096


class _Mark:
    """The bottom of an open container on the stack."""


def load(path: Path) -> Any:
    """The object pickled in `path`: None, bool, int, float, str, list, dict and tuple, and `PickledArray`.

    Raises RefusedError for anything else in the file, damage included, and OSError when it cannot be read.
    """
    with path.open("rb") as file:
        machine = _Machine(file, os.fstat(file.fileno()).st_size)
        try:
            return machine.run()
        except (ValueError, TypeError, IndexError, KeyError, OverflowError, struct.error) as error:
            raise RefusedError(f"it is damaged near byte {file.tell()} ({type(error).__name__})") from None
        except MemoryError:
            raise RefusedError("its arrays do not fit into memory") from None


class _Machine(ArrayReader):
    def __init__(self, file: io.BufferedReader, size: int) -> None:
        super().__init__(file, size)
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MAX_OPCODES):
            code = self.take(1)[0]
            if code == _STOP:
                break
            action = _ACTIONS.get(code)
            if action is None:
                raise RefusedError(_refusal(self, code))
            action(self)
        else:
            raise RefusedError(f"it has more than {MAX_OPCODES} pickle instructions")
        if len(self.stack) != 1:
            raise RefusedError("it is damaged: its pickle does not end in one object")
        rest = self.size - self.file.tell()
        if rest:
            raise RefusedError(f"{rest} bytes follow the end of its pickle")
        return self.stack[0]

    # reading

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def line(self) -> str:
        """A newline-ended name of the GLOBAL and INST instructions."""
        return self.file.readline(MAX_NAME_BYTES).rstrip(b"\r\n").decode("utf-8", "replace")

    # stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack:
            raise RefusedError("it is damaged: its pickle takes from an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        for at in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[at], _Mark):
                items = self.stack[at + 1 :]
                del self.stack[at:]
                return items
        raise RefusedError("it is damaged: its pickle closes a container that it never opened")

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise RefusedError(f"it is damaged: its pickle refers to object {index} that it never stored")
        self.push(self.memo[index])

    def store(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise RefusedError(f"it is damaged: its pickle appends to {described(target)}")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise RefusedError(f"it is damaged: its pickle sets items of {described(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str:  # before it is hashed: hashing deeply nested tuples overflows the C stack
                raise RefusedError(f"names of arrays must be strings, and one of its keys is {described(key)}")
            target[key] = value

    # names and what they do

    def name(self, module: Any, attribute: Any) -> None:
        if type(module) is not str or type(attribute) is not str:
            raise RefusedError("it is damaged: its pickle names something that is not text")
        if (module, attribute) not in NAMES:
            raise RefusedError(_asks_for(module, attribute))
        self.push(NAMES[module, attribute])

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if type(function) is not Name or type(arguments) is not tuple:
            raise RefusedError(f"its pickle calls {described(function)}, and only arrays are read")
        self.push(self.imitate(function, arguments))

    def build(self) -> None:
        state = self.pop()
        self.set_state(self.stack[-1], state)

    def string(self, length: int, encoding: str = "utf-8") -> str:
        return self.take(length).decode(encoding)


def _asks_for(module: str, attribute: str) -> str:
    name = f"{module}.{attribute}"[:80]
    spelled = name if name.isascii() and name.isprintable() else ascii(name)
    return f"it asks for {spelled}, and only arrays are read (nothing was run)"


def _refusal(machine: _Machine, code: int) -> str:
    if code == ord("i"):  # INST carries its name in itself
        return _asks_for(machine.line(), machine.line())
    if code in _REFUSED:
        return f"it {_REFUSED[code]}, and only arrays are read (nothing was run)"
    return f"it is damaged or not a checkpoint: pickle instruction 0x{code:02x} is not expected in a file of arrays"


_STOP = ord(".")

_REFUSED = {
    ord("o"): "makes an object (OBJ)",
    0x81: "makes an object (NEWOBJ)",
    0x92: "makes an object (NEWOBJ_EX)",
    0x82: "asks for a registered extension (EXT1)",
    0x83: "asks for a registered extension (EXT2)",
    0x84: "asks for a registered extension (EXT4)",
    ord("P"): "refers to objects outside the file (PERSID)",
    ord("Q"): "refers to objects outside the file (BINPERSID)",
    0x97: "refers to data outside the file (NEXT_BUFFER)",
}


def _protocol(m: _Machine) -> None:
    protocol = m.take(1)[0]
    if not 2 <= protocol <= 5:
        raise RefusedError(f"it is a pickle of protocol {protocol}, expected 2 to 5")


def _global(m: _Machine) -> None:
    module = m.line()
    m.name(module, m.line())


def _stack_global(m: _Machine) -> None:
    attribute, module = m.pop(), m.pop()
    m.name(module, attribute)


def _tuple(m: _Machine, count: int) -> None:
    m.push(tuple([m.pop() for _ in range(count)][::-1]))


def _set_item(m: _Machine) -> None:
    value, key = m.pop(), m.pop()
    m.set_items([key, value])


def _frame(m: _Machine) -> None:
    m.take(8)  # the frame's length: a hint for buffering, not needed here


def _discard(m: _Machine) -> None:
    m.pop()


def _discard_to_mark(m: _Machine) -> None:
    m.pop_to_mark()


def _long(m: _Machine) -> None:
    length = m.take(1)[0]
    if length > 16:
        raise RefusedError("it is damaged: a number of more than 16 bytes")
    m.push(int.from_bytes(m.take(length), "little", signed=True))


_ACTIONS: dict[int, Callable[[_Machine], None]] = {
    0x80: _protocol,
    0x95: _frame,
    ord("("): lambda m: m.push(_Mark()),
    ord("0"): _discard,
    ord("1"): _discard_to_mark,
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("J"): lambda m: m.push(m.number("<i")),
    ord("K"): lambda m: m.push(m.number("<B")),
    ord("M"): lambda m: m.push(m.number("<H")),
    0x8A: _long,
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    ord("X"): lambda m: m.push(m.string(m.number("<I"))),
    0x8C: lambda m: m.push(m.string(m.number("<B"))),
    0x8D: lambda m: m.push(m.string(m.number("<Q"))),
    ord("T"): lambda m: m.push(m.string(m.number("<I"), "latin-1")),
    ord("U"): lambda m: m.push(m.string(m.number("<B"), "latin-1")),
    ord("B"): lambda m: m.push(m.span(m.number("<I"))),
    ord("C"): lambda m: m.push(m.span(m.number("<B"))),
    0x8E: lambda m: m.push(m.span(m.number("<Q"))),
    0x96: lambda m: m.push(m.span(m.number("<Q"))),  # BYTEARRAY8
    ord("}"): lambda m: m.push({}),
    ord("]"): lambda m: m.push([]),
    ord(")"): lambda m: m.push(()),
    0x85: lambda m: _tuple(m, 1),
    0x86: lambda m: _tuple(m, 2),
    0x87: lambda m: _tuple(m, 3),
    ord("t"): lambda m: m.push(tuple(m.pop_to_mark())),
    ord("a"): lambda m: m.append([m.pop()]),
    ord("e"): lambda m: m.append(m.pop_to_mark()),
    ord("s"): _set_item,
    ord("u"): lambda m: m.set_items(m.pop_to_mark()),
    ord("q"): lambda m: m.store(m.number("<B")),
    ord("r"): lambda m: m.store(m.number("<I")),
    0x94: lambda m: m.store(len(m.memo)),
    ord("h"): lambda m: m.recall(m.number("<B")),
    ord("j"): lambda m: m.recall(m.number("<I")),
    ord("c"): _global,
    0x93: _stack_global,
    ord("R"): lambda m: m.reduce(),
    ord("b"): lambda m: m.build(),
}
