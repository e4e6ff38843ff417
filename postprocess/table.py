"""A table of a run: named columns of text, turned into numbers when asked for."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turgor.materials.errors import CaseError, nearest


@dataclass(frozen=True)
class Table:
    """Rows of equal length under a header, for example "t [s]".

    Attributes:
        name: File it came from.
        columns: Header -> cells as text, in the order of the file.
    """

    name: str
    columns: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read a CSV file; one that does not exist gives an empty table.

        Raises:
            CaseError: A row has more or fewer cells than the header.
        """
        if not path.is_file():
            return cls(path.name, {})
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
        if not rows:
            return cls(path.name, {})
        header, body = rows[0], rows[1:]
        for number, row in enumerate(body, start=2):
            if len(row) != len(header):
                raise CaseError(f"{path}: line {number} has {len(row)} cells, the header has {len(header)}")
        return cls(path.name, {name: tuple(row[i] for row in body) for i, name in enumerate(header)})

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values()), ()))

    def __contains__(self, name: object) -> bool:
        """Return whether there is a column of that name."""
        return name in self.columns

    def words(self, name: str) -> tuple[str, ...]:
        """Return a column as text.

        Raises:
            CaseError: There is no such column.
        """
        if name not in self.columns:
            raise CaseError(f"{self.name}: there is no column {name!r}.{nearest(name, self.columns)}")
        return self.columns[name]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column as numbers; an empty cell is NaN.

        Raises:
            CaseError: There is no such column, or a cell is not a number.
        """
        cells = self.words(name)
        try:
            return np.array([float(cell) if cell.strip() else np.nan for cell in cells], dtype=np.float64)
        except ValueError as error:
            raise CaseError(f"{self.name}: column {name!r}: {error}") from None

    def where(self, name: str, word: str) -> Table:
        """Return the rows whose cell in a column is exactly `word`."""
        if name not in self.columns:
            return Table(self.name, {})
        keep = [i for i, cell in enumerate(self.columns[name]) if cell == word]
        return Table(self.name, {key: tuple(cells[i] for i in keep) for key, cells in self.columns.items()})

    def distinct(self, name: str) -> tuple[str, ...]:
        """Return the different words of a column in order of appearance; none if there is no such column."""
        return tuple(dict.fromkeys(self.columns.get(name, ())))


def write_csv(path: Path, columns: Mapping[str, NDArray[np.float64] | tuple[str, ...]]) -> None:
    """Write columns of equal length as CSV, numbers in full precision."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([cell if isinstance(cell, str) else f"{float(cell):.12e}" for cell in row])
