"""The data file of an LMDB, read page by page, each page checked before it is used.

LMDB maps the file into memory and follows the numbers in it unchecked: a flipped bit or a file cut
short ends the process by a signal, without a word. Here they end in an error. Every page is read
by a system call of its own, so that threads and forked processes can share an open file, and
another process can add to it meanwhile.

The format is that of LMDB 0.9 on 64-bit little-endian machines. Two meta pages, of which the one
with the later transaction counts, lead to two B+ trees of branch and leaf pages: one of the
records, one of the pages that are free. A long value fills pages of its own.
"""

from __future__ import annotations

import os
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from struct import Struct, error, unpack_from
from threading import Lock
from typing import NamedTuple, TypeVar

from crnn_cli.errors import StoreError

# A page begins with its number, flags, the end of its table of nodes, and where the nodes begin.
_HEADER = Struct("<Q2xHHH")
# A long value begins with its page number, flags, and how many pages it has.
_LONG_HEADER = Struct("<Q2xHI")
# A leaf's node: low and high half of the value's size, flags, size of the key; then key and value.
# A branch's node: low, middle and high part of the child's page, size of the key; then the key.
_NODE = Struct("<HHHH")
_TREE = "HH 24x QQ"  # flags, depth, entries, root page
# A meta page: flags, magic, version, page size, tree of free pages, of records, last page, count.
_META = Struct(f"<10x H 4x II 16x I {_TREE} 4x {_TREE} QQ")
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _LONG, _META_PAGE, _DIRTY = 1, 2, 4, 8, 16  # flags of pages
_ELSEWHERE = 1  # flag of a node: it has the page number of a long value
_FREE_FLAGS = 8  # flags of the tree of free pages: its keys are integers
_KEPT_FLAGS = 0x4001  # flags of the environment that stand in the same field: FIXEDMAP, NOSUBDIR
_DEEPEST = 32
_PAGE_SIZES = [2**power for power in range(9, 16)]
_CACHED = 4096  # branches, of some kB each
_LARGE = 2**20  # bytes; no more is asked for unless the file has them
_ATTEMPTS = 100

T = TypeVar("T")


class _Root(NamedTuple):
    flags: int
    depth: int
    entries: int
    page: int


class _State(NamedTuple):
    """The file after a transaction, as `raw`, the meta page number `place`, describes it."""

    place: int
    raw: bytes
    page_size: int
    transaction: int
    last_page: int
    free: _Root
    records: _Root


class _Page(NamedTuple):
    data: bytes
    nodes: Sequence[int]  # offset of each

    def key(self, node: int) -> bytes:
        data = self.data
        return data[node + 8 : node + 8 + data[node + 6] + 256 * data[node + 7]]

    def has(self, place: int, key: bytes) -> bool:
        """Tell whether the node number `place` has this key."""
        return place < len(self.nodes) and self.key(self.nodes[place]) == key


class _Damage(Exception):
    """The reason why a file cannot be used."""


class Tree:
    """The records of the LMDB whose data file is `file`.

    Args:
        name: the name of the dataset, for messages.

    Raises:
        StoreError: it cannot be read, is no LMDB, damaged or truncated. So do the methods.
    """

    def __init__(self, file: Path, name: str) -> None:
        self._name = name
        try:
            self._file = _File(file)
            state = self._file.newest()
            length, needed = self._file.length(), (state.last_page + 1) * self._file.page_size
        except OSError as fault:
            raise StoreError(f"{name}: cannot be read ({fault.strerror})") from None
        except _Damage as fault:
            told = f"{name}: no LMDB, or a damaged one ({fault})"
            raise StoreError(f"{told}: build or copy it again") from None
        if length < needed:
            raise StoreError(f"{name}: truncated ({length:,} of {needed:,} bytes): copy it again")
        self._state = state
        self._branch = lru_cache(_CACHED)(self._file.branch)

    def entries(self) -> int:
        """The number of records."""
        return self._steady(lambda state: state.records.entries)

    def get(self, keys: Sequence[bytes], most: int = 2**32) -> list[bytes | None]:
        """The values of `keys`, all as they are at one moment; None where there is no such record.

        Args:
            most: bytes of a value; a longer one is taken for damage, and is not read.
        """
        return self._steady(lambda state: self._values(state, keys, most))

    def check(self) -> None:
        """See that the structure of the whole file is sound enough for LMDB to change it."""
        self._steady(self._file.check)

    def _steady(self, read: Callable[[_State], T]) -> T:
        """Give what `read` finds in a state that lasts until it has read.

        A state lasts until two transactions have followed it: only then can another write over its
        pages. The second of them writes the meta page that the state came from.
        """
        try:
            for _ in range(_ATTEMPTS):
                state, damage = self._state, ""
                try:
                    found = read(state)
                except _Damage as fault:
                    damage = str(fault)
                except (IndexError, OverflowError, error):
                    damage = "a number in a page leads out of it"
                if self._file.meta(state.place) != state.raw:
                    self._state = self._file.newest()
                elif damage:
                    raise _Damage(damage)
                else:
                    return found
        except OSError as fault:
            raise StoreError(f"{self._name}: cannot be read ({fault.strerror})") from None
        except _Damage as fault:
            raise StoreError(f"{self._name}: damaged ({fault}): build or copy it again") from None
        raise StoreError(f"{self._name}: changes faster than it can be read: try again later")

    def _values(self, state: _State, keys: Sequence[bytes], most: int) -> list[bytes | None]:
        values: list[bytes | None] = []
        leaf, place = _Page(b"", ()), 0
        for key in keys:
            if not leaf.has(place, key):  # keys that follow one another are often neighbours
                leaf = self._leaf(state, key)
                place = bisect_left(leaf.nodes, key, key=leaf.key)
            if leaf.has(place, key):
                flags, start, size = _content(leaf.data, leaf.nodes[place])
                if size > most:
                    raise _Damage(f"{key.decode()} has {size:,} bytes")
                values.append(self._file.value(leaf.data, flags, start, size))
                place += 1
            else:
                values.append(None)
        return values

    def _leaf(self, state: _State, key: bytes) -> _Page:
        """The leaf that has `key` if there is such a record."""
        number = state.records.page
        if not state.records.depth:
            return _Page(b"", ())
        for _ in range(state.records.depth - 1):
            keys, children = self._branch(number, state.transaction)
            number = children[bisect_right(keys, key) - 1]
        return self._file.page(number, _LEAF)


class _File:
    """Checked reading of pages and values; what is read may be of different moments."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = Lock()
        self.page_size = 0
        self.page_size = _META.unpack(self.meta(0))[3]
        if self.page_size not in _PAGE_SIZES:
            raise _Damage("it does not begin as one does")

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)

    def length(self) -> int:
        """The size of the file in bytes."""
        return os.fstat(self._handle).st_size

    def meta(self, place: int) -> bytes:
        """The content of meta page 0 or 1."""
        return self._read(place * self.page_size, _META.size)

    def newest(self) -> _State:
        """The state after the last transaction."""
        first, second = _state(0, self.meta(0)), _state(1, self.meta(1))
        if not first.page_size == second.page_size == self.page_size:
            raise _Damage("its meta pages disagree")
        return second if second.transaction > first.transaction else first

    def branch(self, number: int, transaction: int) -> tuple[list[bytes], list[int]]:
        """The least key of each child of a branch, and the child's page.

        The `transaction` of the state makes it another branch to a cache.
        """
        page = self.page(number, _BRANCH)
        keys = [b"", *map(page.key, page.nodes[1:])]  # LMDB, too, takes the first for empty
        if keys != sorted(keys):
            raise _Damage(f"page {number:,} after transaction {transaction:,}: keys out of order")
        return keys, [_child(page.data, node) for node in page.nodes]

    def page(self, number: int, kind: int) -> _Page:
        """A branch or a leaf."""
        data = self._read(number * self.page_size, self.page_size)
        found, flags, lower, upper = _HEADER.unpack_from(data)
        count = (lower - _HEADER.size) // 2
        if found != number or flags & ~_DIRTY != kind:
            raise _Damage(f"page {number:,} is another")
        if not (count >= (2 if kind == _BRANCH else 1) and lower <= upper <= self.page_size):
            raise _Damage(f"page {number:,}: its bounds")
        return _Page(data, unpack_from(f"<{count}H", data, _HEADER.size))

    def value(self, page: bytes, flags: int, start: int, size: int) -> bytes:
        """The value of a node of the leaf `page`; see `_content`."""
        if flags == _ELSEWHERE:
            number = _long_page(page, start)
            data = self._read(number * self.page_size, _LONG_HEADER.size + size)
            self._long_pages(data, number, size)
            return data[_LONG_HEADER.size :]
        if flags or start + size > len(page):
            raise _Damage("a value leaves its page")
        return page[start : start + size]

    def check(self, state: _State) -> None:
        """See that every page of both trees is used once, and every node lies within its page."""
        used = bytearray(state.last_page + 1)

        def take(first: int, count: int = 1) -> None:
            if first + count > len(used) or any(used[first : first + count]):
                raise _Damage(f"page {first:,} is used twice")
            used[first : first + count] = b"\1" * count

        take(0, 2)
        if state.free.flags & ~_KEPT_FLAGS != _FREE_FLAGS:
            raise _Damage("free pages of another kind")
        for tree in (state.records, state.free):
            for page, node in self._leaf_nodes(tree, take):
                flags, start, size = _content(page, node)
                if flags == _ELSEWHERE:
                    number = _long_page(page, start)
                    header = self._read(number * self.page_size, _LONG_HEADER.size)
                    take(number, self._long_pages(header, number, size))
                if tree is state.free:
                    value = self.value(page, flags, start, size)
                    count, *pages = unpack_from(f"<{len(value) // 8}Q", value)
                    for number in filter(None, pages[:count]):
                        take(number)

    def _leaf_nodes(self, tree: _Root, take: Callable[[int], None]) -> Iterator[tuple[bytes, int]]:
        """Leaf page and node of every record, in order."""
        waiting = [(tree.page, tree.depth)] if tree.depth else []
        while waiting:
            number, depth = waiting.pop()
            take(number)
            data, nodes = self.page(number, _BRANCH if depth > 1 else _LEAF)
            sizes = [_in_page(data, node, leaf=depth == 1) for node in nodes]
            if sum(sizes) != self.page_size - _HEADER.unpack_from(data)[3]:
                raise _Damage(f"page {number:,}: its nodes overlap")
            if depth > 1:
                waiting += [(_child(data, node), depth - 1) for node in reversed(nodes)]
            else:
                yield from ((data, node) for node in nodes)

    def _long_pages(self, data: bytes, number: int, size: int) -> int:
        """The number of pages of a long value of `size` bytes that begins with `data`."""
        found, flags, pages = _LONG_HEADER.unpack_from(data)
        room = pages * self.page_size - _LONG_HEADER.size
        if found != number or flags & ~_DIRTY != _LONG or room < size:
            raise _Damage(f"page {number:,} is another")
        return int(pages)

    def _read(self, offset: int, size: int) -> bytes:
        if size > _LARGE and offset + size > self.length():
            raise _Damage(f"it ends before byte {offset + size:,}")
        if sys.platform == "win32":
            with self._lock:
                os.lseek(self._handle, offset, os.SEEK_SET)
                data = os.read(self._handle, size)
        else:
            data = os.pread(self._handle, size, offset)
        if len(data) < size:
            raise _Damage(f"it ends before byte {offset + size:,}")
        return data


def begins_as_lmdb(file: Path) -> bool:
    """Tell whether the first page of `file` is that of an LMDB."""
    with file.open("rb") as opened:
        head = opened.read(_META.size)
    return len(head) == _META.size and _META.unpack(head)[1] == _MAGIC


def _state(place: int, raw: bytes) -> _State:
    """Return the state that meta page number `place` describes."""
    flags, magic, version, size, *trees, last_page, transaction = _META.unpack(raw)
    if not flags & _META_PAGE or magic != _MAGIC:
        raise _Damage("it does not begin as one does")
    if version != _VERSION:
        raise _Damage(f"its format is {version}, not {_VERSION}")
    free, records = _Root(*trees[:4]), _Root(*trees[4:])
    if records.flags or max(free.depth, records.depth) > _DEEPEST:
        raise _Damage("records of another kind")
    return _State(place, raw, size, transaction, last_page, free, records)


def _content(page: bytes, node: int) -> tuple[int, int, int]:
    """Flags, offset and size of the value of a leaf's node."""
    low, high, flags, key = _NODE.unpack_from(page, node)
    return flags, node + _NODE.size + key, low + (high << 16)


def _in_page(page: bytes, node: int, leaf: bool) -> int:
    """The bytes that a node takes in its page, an even number."""
    flags, start, size = _content(page, node)
    if leaf:
        start += 8 if flags == _ELSEWHERE else size
    return -(-(start - node) // 2) * 2


def _long_page(page: bytes, start: int) -> int:
    return int.from_bytes(page[start : start + 8], "little")


def _child(page: bytes, node: int) -> int:
    """The page to which a branch's node leads."""
    low, high, top, _ = _NODE.unpack_from(page, node)
    return int(low + (high << 16) + (top << 32))
