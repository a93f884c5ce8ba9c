"""Reading of the data file of an LMDB page by page, each page checked before it is used.

LMDB maps the file into memory and follows the numbers in it unchecked, so that a flipped bit or a
truncated file kills the process by a signal, without a message. Here they end in an error. A
separate system call reads every page, so that threads and forked processes can share an open file,
and another process can append to it meanwhile.

The format is that of LMDB 0.9 on 64-bit little-endian machines. Two meta pages, of which the one
with the later transaction counts, lead to two B+ trees of branch and leaf pages: one for the
records, one for the free pages. A long value fills separate (overflow) pages.
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

# A page begins with its number, its flags, the end of its table of nodes, and their beginning.
_HEADER = Struct("<Q2xHHH")
# An overflow page begins with its page number, flags, and how many pages it has.
_OVERFLOW_HEADER = Struct("<Q2xHI")
# A leaf's node: low and high half of the value's size, flags, size of the key; then key and value.
# A branch's node: low, middle and high part of the child's page, size of the key; then the key.
_NODE = Struct("<HHHH")
_ROOT = "HH 24x QQ"  # flags, depth, entries, root page
# A meta page: flags, magic, version, page size, tree of free pages, of records, last page, count.
_META = Struct(f"<10x H 4x II 16x I {_ROOT} 4x {_ROOT} QQ")
_MAGIC = 0xBEEFC0DE
_VERSION = 1
# flags of pages
_BRANCH = 1
_LEAF = 2
_OVERFLOW = 4
_META_PAGE = 8
_DIRTY = 16
_OVERFLOW_NODE = 1  # flag of a node: its value is the page number of a long value
_FREE_TREE_FLAGS = 8  # flags of the tree of free pages: its keys are integers
_ENVIRONMENT_FLAGS = 0x4001  # FIXEDMAP and NOSUBDIR, which stand in the same field
_MAX_DEPTH = 32
_PAGE_SIZES = [2**power for power in range(9, 16)]
_CACHED_BRANCHES = 4096  # of some kB each
_MAX_UNCHECKED_BYTES = 2**20  # longer reads are refused unless the file is long enough
_MAX_ATTEMPTS = 100
MAX_VALUE_BYTES = 2**32

T = TypeVar("T")


class _Root(NamedTuple):
    """The description of a tree in a meta page."""

    flags: int
    depth: int
    entries: int
    page: int


class _State(NamedTuple):
    """The state of the file after a transaction, which the meta page `raw` describes."""

    meta_index: int
    raw: bytes
    page_size: int
    transaction: int
    last_page: int
    free: _Root
    records: _Root


class _Page(NamedTuple):
    """A branch or leaf page, with the offset of each node."""

    data: bytes
    nodes: Sequence[int]

    def key(self, node: int) -> bytes:
        data = self.data
        return data[node + 8 : node + 8 + data[node + 6] + 256 * data[node + 7]]

    def has(self, index: int, key: bytes) -> bool:
        """Return whether there is a node at `index` and it has this key."""
        return index < len(self.nodes) and self.key(self.nodes[index]) == key


class _Damage(Exception):
    """The reason why a file cannot be used."""


class BTree:
    """The B+ tree of the records in the data file of an LMDB.

    Args:
        file: The data file.
        name: The name of the dataset, for messages.

    Raises:
        StoreError: The file cannot be read, is damaged or truncated, or is not an LMDB. The methods
            also raise it.
    """

    def __init__(self, file: Path, name: str) -> None:
        self._name = name
        try:
            self._file = _PageFile(file)
            state = self._file.newest()
            length = self._file.length()
            expected_length = (state.last_page + 1) * self._file.page_size
        except OSError as fault:
            raise StoreError(f"{name}: cannot be read ({fault.strerror})") from None
        except _Damage as fault:
            problem = f"{name}: no LMDB, or a damaged one ({fault})"
            raise StoreError(f"{problem}: build or copy it again") from None
        if length < expected_length:
            raise StoreError(
                f"{name}: truncated ({length:,} of {expected_length:,} bytes): copy it again"
            )
        self._state = state
        self._branch = lru_cache(_CACHED_BRANCHES)(self._file.branch)

    def entries(self) -> int:
        """Return the number of records."""
        return self._consistent(lambda state: state.records.entries)

    def get(self, keys: Sequence[bytes], max_bytes: int = MAX_VALUE_BYTES) -> list[bytes | None]:
        """Return the values of `keys`, all from one moment; None for a missing record.

        Args:
            keys: The keys of the records.
            max_bytes: The greatest size of a value; a longer one counts as damage and is not read.
        """
        return self._consistent(lambda state: self._values(state, keys, max_bytes))

    def check(self) -> None:
        """Check that the structure of the whole file is sound enough for LMDB to change it."""
        self._consistent(self._file.check)

    def _consistent(self, read: Callable[[_State], T]) -> T:
        """Return the result of `read` on a state that stays valid until it has been read.

        A state stays valid until two transactions have followed it: only then may another one
        overwrite its pages. The second of them writes the meta page that the state came from.
        """
        try:
            for _ in range(_MAX_ATTEMPTS):
                state = self._state
                damage = ""
                try:
                    result = read(state)
                except _Damage as fault:
                    damage = str(fault)
                except (IndexError, OverflowError, error):
                    damage = "a number in a page leads out of it"
                if self._file.meta(state.meta_index) != state.raw:
                    self._state = self._file.newest()
                elif damage:
                    raise _Damage(damage)
                else:
                    return result
        except OSError as fault:
            raise StoreError(f"{self._name}: cannot be read ({fault.strerror})") from None
        except _Damage as fault:
            raise StoreError(f"{self._name}: damaged ({fault}): build or copy it again") from None
        raise StoreError(f"{self._name}: changes faster than it can be read: try again later")

    def _values(self, state: _State, keys: Sequence[bytes], max_bytes: int) -> list[bytes | None]:
        values: list[bytes | None] = []
        leaf = _Page(b"", ())
        index = 0
        for key in keys:
            if not leaf.has(index, key):  # successive keys are often neighbours
                leaf = self._leaf(state, key)
                index = bisect_left(leaf.nodes, key, key=leaf.key)
            if leaf.has(index, key):
                flags, start, size = _content(leaf.data, leaf.nodes[index])
                if size > max_bytes:
                    raise _Damage(f"{key.decode()} has {size:,} bytes")
                values.append(self._file.value(leaf.data, flags, start, size))
                index += 1
            else:
                values.append(None)
        return values

    def _leaf(self, state: _State, key: bytes) -> _Page:
        """Return the leaf that has `key` if there is such a record."""
        number = state.records.page
        if not state.records.depth:
            return _Page(b"", ())
        for _ in range(state.records.depth - 1):
            keys, children = self._branch(number, state.transaction)
            number = children[bisect_right(keys, key) - 1]
        return self._file.page(number, _LEAF)


class _PageFile:
    """Checked reading of pages and values; successive reads may see different moments."""

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
        """Return the size of the file in bytes."""
        return os.fstat(self._handle).st_size

    def meta(self, index: int) -> bytes:
        """Return the content of meta page 0 or 1."""
        return self._read(index * self.page_size, _META.size)

    def newest(self) -> _State:
        """Return the state after the last transaction."""
        first = _state(0, self.meta(0))
        second = _state(1, self.meta(1))
        if not first.page_size == second.page_size == self.page_size:
            raise _Damage("its meta pages disagree")
        return second if second.transaction > first.transaction else first

    def branch(self, number: int, transaction: int) -> tuple[list[bytes], list[int]]:
        """Return the least key of each child of a branch, and the page number of each child.

        The `transaction` keeps the branches of different states apart in a cache.
        """
        page = self.page(number, _BRANCH)
        keys = [b"", *map(page.key, page.nodes[1:])]  # like LMDB, which takes the first for empty
        if keys != sorted(keys):
            raise _Damage(f"page {number:,} after transaction {transaction:,}: keys out of order")
        return keys, [_child(page.data, node) for node in page.nodes]

    def page(self, number: int, kind: int) -> _Page:
        """Read a page whose number and kind (`_BRANCH` or `_LEAF`) are known."""
        data = self._read(number * self.page_size, self.page_size)
        stored_number, flags, lower, upper = _HEADER.unpack_from(data)
        count = (lower - _HEADER.size) // 2
        if stored_number != number or flags & ~_DIRTY != kind:
            raise _Damage(f"page {number:,} is another")
        min_count = 2 if kind == _BRANCH else 1
        if count < min_count or not lower <= upper <= self.page_size:
            raise _Damage(f"page {number:,}: its bounds")
        return _Page(data, unpack_from(f"<{count}H", data, _HEADER.size))

    def value(self, page: bytes, flags: int, start: int, size: int) -> bytes:
        """Return the value of a node of the leaf `page`; see `_content` for the arguments."""
        if flags == _OVERFLOW_NODE:
            number = _overflow_page(page, start)
            data = self._read(number * self.page_size, _OVERFLOW_HEADER.size + size)
            self._overflow_page_count(data, number, size)
            return data[_OVERFLOW_HEADER.size :]
        if flags or start + size > len(page):
            raise _Damage("a value leaves its page")
        return page[start : start + size]

    def check(self, state: _State) -> None:
        """Check that every page of both trees is used once, and every node lies within its page."""
        used = bytearray(state.last_page + 1)

        def take(first: int, count: int = 1) -> None:
            """Mark pages as used, unless some are already."""
            if first + count > len(used) or any(used[first : first + count]):
                raise _Damage(f"page {first:,} is used twice")
            used[first : first + count] = b"\1" * count

        take(0, 2)
        if state.free.flags & ~_ENVIRONMENT_FLAGS != _FREE_TREE_FLAGS:
            raise _Damage("free pages of another kind")
        for tree in (state.records, state.free):
            for page, node in self._leaf_nodes(tree, take):
                flags, start, size = _content(page, node)
                if flags == _OVERFLOW_NODE:
                    number = _overflow_page(page, start)
                    header = self._read(number * self.page_size, _OVERFLOW_HEADER.size)
                    take(number, self._overflow_page_count(header, number, size))
                if tree is state.free:
                    value = self.value(page, flags, start, size)
                    count, *pages = unpack_from(f"<{len(value) // 8}Q", value)
                    for number in filter(None, pages[:count]):
                        take(number)

    def _leaf_nodes(self, tree: _Root, take: Callable[[int], None]) -> Iterator[tuple[bytes, int]]:
        """Yield the leaf page and the node of every record, in order."""
        stack = [(tree.page, tree.depth)] if tree.depth else []
        while stack:
            number, depth = stack.pop()
            take(number)
            data, nodes = self.page(number, _BRANCH if depth > 1 else _LEAF)
            sizes = [_node_size(data, node, leaf=depth == 1) for node in nodes]
            if sum(sizes) != self.page_size - _HEADER.unpack_from(data)[3]:
                raise _Damage(f"page {number:,}: its nodes overlap")
            if depth > 1:
                stack += [(_child(data, node), depth - 1) for node in reversed(nodes)]
            else:
                for node in nodes:
                    yield data, node

    def _overflow_page_count(self, data: bytes, number: int, size: int) -> int:
        """Return the number of pages of a long value of `size` bytes that begins with `data`."""
        stored_number, flags, pages = _OVERFLOW_HEADER.unpack_from(data)
        room = pages * self.page_size - _OVERFLOW_HEADER.size
        if stored_number != number or flags & ~_DIRTY != _OVERFLOW or room < size:
            raise _Damage(f"page {number:,} is another")
        return int(pages)

    def _read(self, offset: int, size: int) -> bytes:
        if size > _MAX_UNCHECKED_BYTES and offset + size > self.length():
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
    """Return whether the first page of `file` is that of an LMDB."""
    with file.open("rb") as opened:
        head = opened.read(_META.size)
    return len(head) == _META.size and _META.unpack(head)[1] == _MAGIC


def _state(index: int, raw: bytes) -> _State:
    """Return the state that the meta page `raw` at `index` describes."""
    flags, magic, version, size, *trees, last_page, transaction = _META.unpack(raw)
    if not flags & _META_PAGE or magic != _MAGIC:
        raise _Damage("it does not begin as one does")
    if version != _VERSION:
        raise _Damage(f"its format is {version}, not {_VERSION}")
    free = _Root(*trees[:4])
    records = _Root(*trees[4:])
    if records.flags or max(free.depth, records.depth) > _MAX_DEPTH:
        raise _Damage("records of another kind")
    return _State(index, raw, size, transaction, last_page, free, records)


def _content(page: bytes, node: int) -> tuple[int, int, int]:
    """Return the flags, the offset and the size of the value of a leaf's node."""
    low, high, flags, key_size = _NODE.unpack_from(page, node)
    return flags, node + _NODE.size + key_size, low + (high << 16)


def _node_size(page: bytes, node: int, leaf: bool) -> int:
    """Return the number of bytes that a node takes in its page, which is even."""
    flags, start, size = _content(page, node)
    if leaf:
        start += 8 if flags == _OVERFLOW_NODE else size
    return -(-(start - node) // 2) * 2


def _overflow_page(page: bytes, start: int) -> int:
    return int.from_bytes(page[start : start + 8], "little")


def _child(page: bytes, node: int) -> int:
    """Return the number of the page to which a branch's node leads."""
    low, high, top, _ = _NODE.unpack_from(page, node)
    return int(low + (high << 16) + (top << 32))
