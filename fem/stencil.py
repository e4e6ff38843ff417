"""Sparse matrices made of one small block a cell, whose values are summed in place by compiled loops.

The pattern is found once. Where each number of each block belongs is remembered as a place in its row, so that new
values cost one pass over the cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.compiled import compiled

Array = NDArray[np.float64]
Ints = NDArray[np.int32]
Places = NDArray[np.uint16] | NDArray[np.uint8]


class Slots(NamedTuple):
    """Where the numbers of each cell's block go.

    Attributes:
        rows: Unknowns of each cell, shape (n_cells, 4).
        places: Place in its row of each number of the block, shape (n_cells, 4, 4).
        starts: Where each row begins, shape (n_rows + 1,).
    """

    rows: Ints
    places: Places
    starts: Ints


@dataclass(frozen=True)
class Stencil:
    """The pattern of a matrix on some rows, in local numbers.

    Attributes:
        slots: For the loops over the cells.
        columns: Ascending in each row.
    """

    slots: Slots
    columns: Ints

    @classmethod
    def of(cls, rows: Ints, count: int) -> Stencil:
        """Find the pattern that couples all unknowns of each cell.

        Args:
            rows: Unknowns of each cell, shape (n_cells, 4).
            count: Number of unknowns.
        """
        starts, cells = _cells_of(rows, count)
        pointer = np.zeros(count + 1, np.int32)
        wide = np.empty(16 * len(rows) + 1, np.int32)
        used = _columns_of(rows, starts, cells, pointer, wide)
        columns = wide[:used].copy()
        most = int(np.diff(pointer).max(initial=0))
        places: Places = np.zeros((len(rows), 4, 4), np.uint8 if most < 256 else np.uint16)
        _places_of(rows, pointer, columns, places)
        return cls(Slots(rows, places, pointer), columns)

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.columns)


@compiled
def _cells_of(rows: Ints, count: int) -> tuple[Ints, Ints]:
    """Return where each unknown's cells begin in a list of cells, and the list."""
    starts = np.zeros(count + 1, np.int32)
    for cell in range(len(rows)):
        for i in range(4):
            starts[rows[cell, i] + 1] += 1
    for row in range(count):
        starts[row + 1] += starts[row]
    ends = starts.copy()
    cells = np.empty(4 * len(rows), np.int32)
    for cell in range(len(rows)):
        for i in range(4):
            row = rows[cell, i]
            cells[ends[row]] = cell
            ends[row] += 1
    return starts, cells


@compiled
def _columns_of(rows: Ints, starts: Ints, cells: Ints, pointer: Ints, wide: Ints) -> int:
    """Write the columns of each row, ascending, and where the rows begin; return their number."""
    end = 0
    for row in range(len(pointer) - 1):
        begin = end
        for at in range(starts[row], starts[row + 1]):
            for j in range(4):
                column = rows[cells[at], j]
                place = end
                while place > begin and wide[place - 1] > column:
                    place -= 1
                if place > begin and wide[place - 1] == column:
                    continue
                for k in range(end, place, -1):
                    wide[k] = wide[k - 1]
                wide[place] = column
                end += 1
        pointer[row + 1] = end
    return end


@compiled
def _places_of(rows: Ints, pointer: Ints, columns: Ints, places: Places) -> None:
    """Find the place in its row of each number of each block."""
    for cell in range(len(rows)):
        for i in range(4):
            row = rows[cell, i]
            for j in range(4):
                low, high = pointer[row], pointer[row + 1] - 1
                while low < high:
                    middle = (low + high) // 2
                    if columns[middle] < rows[cell, j]:
                        low = middle + 1
                    else:
                        high = middle
                places[cell, i, j] = low - pointer[row]
