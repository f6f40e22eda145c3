"""A damaged database whose list of tables cannot be read gets that of a sound one.

Where each table begins is noted in the first pages of the file (sqlite.org/fileformat2.html). Two databases that were
made by the same steps have their tables in the same places, so the first pages of one fit the other, whatever it holds.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from ...failpoints import failpoint

#: Where the header of a file keeps the size of a page, how it is written, its pages, its free pages.
PAGE_SIZE, FORMAT, COUNT, FREE = slice(16, 18), slice(18, 20), slice(28, 32), slice(32, 40)

#: A page that leads to others, and the length of its head; a leaf has 13 instead.
INTERIOR, HEAD = 5, 12


def graft(wreck: Path, sound: Path, to: Path) -> None:
    """Write a copy of `wreck` with the list of tables of `sound`, which nobody may have open. Raises OSError."""
    pages = _Pages(sound.read_bytes())
    with failpoint("graft.copy"):
        shutil.copyfile(wreck, to)
    count = wreck.stat().st_size // pages.size
    with open(to, "r+b") as file:
        for number in pages.below(1):
            page = bytearray(pages.page(number))
            if number == 1:
                page[FORMAT], page[COUNT], page[FREE] = b"\1\1", count.to_bytes(4, "big"), bytes(8)
            file.seek((number - 1) * pages.size)
            file.write(page)


class _Pages:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = int.from_bytes(data[PAGE_SIZE], "big")

    def page(self, number: int) -> bytes:
        return self._data[(number - 1) * self.size : number * self.size]

    def below(self, number: int) -> Iterator[int]:
        """This page of a table's tree, and all that it leads to."""
        yield number
        page = self.page(number)
        start = 100 if number == 1 else 0  # the file's header comes first
        if page[start] != INTERIOR:
            return
        cells = int.from_bytes(page[start + 3 : start + 5], "big")
        places = [start + HEAD + 2 * cell for cell in range(cells)]
        at = [int.from_bytes(page[place : place + 2], "big") for place in places]
        for pointer in (*at, start + 8):
            yield from self.below(int.from_bytes(page[pointer : pointer + 4], "big"))
