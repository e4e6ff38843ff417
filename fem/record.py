"""The tables of a run: what their columns are called, and how a row is made.

All quantities are in the internal units, which the headers say: mm, s, nmol, Pa.
"""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turgor.fem.domain import Domain
from turgor.fem.measures import Field, Part, Scalar
from turgor.fem.problem import BalanceRow
from turgor.fem.runfolder import RunFolder, agree, replace
from turgor.fem.vtkhdf import Numbered

TIME = "t [s]"
QUANTITIES = "quantities.csv"
BALANCE = (TIME, "physics", "region", "surface", "in", "out", "made", "lost", "stored", "residual", "unit")
PACKAGES = (
    "turgor",
    "fenics-dolfinx",
    "fenics-basix",
    "fenics-ffcx",
    "fenics-ufl",
    "dolfinx-solver-real",
    "mpi4py",
    "numpy",
    "h5py",
    "pydantic",
    "pint",
    "gmsh",
)


class Table:
    """A CSV file in a run folder that grows by whole lines, on disk before the next step begins.

    Numbers are written with 13 digits. The first column of a table is the time [s].
    """

    def __init__(self, folder: RunFolder, name: str, columns: Sequence[str]) -> None:
        """Begin the file with its header, replacing an old one, or keep its rows up to `folder.until`. Collective.

        Raises:
            SetupError: The file cannot be written.
        """
        self.columns = tuple(columns)
        self._path = folder.file(name)
        self._comm = folder.comm
        header, until = _lines([self.columns]), folder.until
        agree(self._comm, lambda: replace(self._path, header if until is None else rows_until(self._path, until)))

    def append(self, rows: Iterable[Sequence[float | str]]) -> None:
        """Add rows; an empty text leaves a cell empty. Collective; the rows of rank 0 count.

        Raises:
            SetupError: The disk is full or gone; the file then ends with the last complete line.
        """
        batch = [tuple(row) for row in rows]
        wrong = [row for row in batch if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"{self._path.name}: {wrong[0]} has not one value for each of {self.columns}")
        agree(self._comm, lambda: _append(self._path, _lines(batch)))


class Quantities:
    """`quantities.csv`: the time, then one column a measure."""

    def __init__(self, folder: RunFolder, units: Mapping[str, str]) -> None:
        """Begin the table. Collective.

        Args:
            folder: The open run folder.
            units: Key of each measure, in the order of the columns, and its unit.
        """
        self._keys = tuple(units)
        self._table = Table(folder, QUANTITIES, [TIME, *(f"{key} [{unit or '-'}]" for key, unit in units.items())])

    def write(self, t: float, values: Mapping[str, float]) -> None:
        """Add the row of one time [s]. Collective."""
        self._table.append([(t, *(values[key] for key in self._keys))])


class Balance:
    """`balance.csv`: one row a step, physics and region, and one for each surface of the region."""

    def __init__(self, folder: RunFolder) -> None:
        """Begin the table. Collective."""
        self._table = Table(folder, "balance.csv", BALANCE)

    def write(self, t: float, physics: str, unit: str, rows: Iterable[BalanceRow]) -> None:
        """Add the rows of one physics for the step that ends at t [s]; of a surface only in and out. Collective."""
        self._table.append((t, physics, *_terms(row), unit) for row in rows)


class Regions:
    """`regions.csv`: means and extremes of the fields, one row a time and region."""

    def __init__(
        self,
        folder: RunFolder,
        domain: Domain,
        fields: Mapping[str, Field],
        accessible: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        """Begin the table. Collective.

        Args:
            folder: The open run folder.
            domain: The mesh.
            fields: Name -> field; the columns are those of "pressure", "velocity" and "concentration" that are there.
            accessible: As for `Measures`; needed with a concentration.
        """
        self._parts = {region: Part.of(domain, region) for region in domain.regions}
        self._columns = _region_columns({name: Scalar(field) for name, field in fields.items()}, accessible or {})
        self._table = Table(folder, "regions.csv", [TIME, "region", *self._columns])

    def write(self, t: float) -> None:
        """Add the rows of one time [s], from what the fields hold now. Collective."""
        self._table.append(
            [(t, region, *(number(part) for number in self._columns.values())) for region, part in self._parts.items()]
        )


class Plasma:
    """`plasma.csv`: free drug in the plasma against time."""

    def __init__(self, folder: RunFolder) -> None:
        """Begin the table. Collective."""
        self._table = Table(folder, "plasma.csv", [TIME, "concentration [mol/m^3]"])

    def write(self, rows: Iterable[tuple[float, float]]) -> None:
        """Add pairs of time [s] and concentration [mol/m^3]. Collective."""
        self._table.append(rows)


def rows_until(path: Path, time: float) -> bytes:
    """Return the header of a table and its rows up to a time [s].

    Raises:
        ValueError: It is no such table.
    """
    header, *rows = path.read_bytes().splitlines(keepends=True)
    last = float(_cell(time))
    return header + b"".join(row for row in rows if row.endswith(b"\n") and float(row.partition(b",")[0]) <= last)


def complaint(folder: Path, tables: Iterable[str], time: float) -> str:
    """Say what keeps the tables of a run from going on after a time [s]; "" when nothing does."""
    for name in tables:
        try:
            kept = rows_until(folder / name, time)
        except (OSError, ValueError):
            return f"{name} is missing or damaged"
        if name == QUANTITIES and f"\n{_cell(time)}".encode() not in kept:
            return f"{name} ends before t = {time:g} s"
    return ""


def versions() -> dict[str, str]:
    """Return the version of each package that can change the numbers and is installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def static_fields(domain: Domain) -> dict[str, Numbered]:
    """Return what does not change in time: the region of each cell and the distances to the regions' surfaces."""
    dofmap = np.asarray(domain.space.dofmap.list)
    distances = {f"distance.{name}": Numbered("P1", far, "mm", dofmap) for name, far in domain.distances.items()}
    return {"region": Numbered("DG0", domain.region), **distances}


def _region_columns(
    scalars: Mapping[str, Scalar], accessible: Mapping[str, NDArray[np.float64]]
) -> dict[str, Callable[[Part], float]]:
    columns: dict[str, Callable[[Part], float]] = {}
    if (pressure := scalars.get("pressure")) is not None:
        columns["pressure mean [Pa]"] = lambda part: part.mean(pressure)
        columns["pressure max [Pa]"] = lambda part: part.highest(pressure)
    if (velocity := scalars.get("velocity")) is not None:
        columns["speed mean [mm/s]"] = lambda part: part.mean(velocity)
    if (drug := scalars.get("concentration")) is not None:
        columns["concentration mean [mol/m^3]"] = lambda part: part.mean(drug)
        columns["concentration min [mol/m^3]"] = lambda part: part.lowest(drug)
        columns["concentration max [mol/m^3]"] = lambda part: part.highest(drug)
        columns["amount [nmol]"] = lambda part: part.integral(drug, accessible["concentration"])
    return columns


def _terms(row: BalanceRow) -> tuple[float | str, ...]:
    passing = (row.region, row.surface, row.entered, row.left)
    if row.surface:
        return (*passing, "", "", "", "")
    return (*passing, row.made, row.lost, row.stored, row.residual)


def _append(path: Path, raw: bytes) -> None:
    """Add whole lines in one write; take a partial one back."""
    with path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            written = file.write(raw)
        except OSError:
            written = -1
        if written != len(raw):
            file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _lines(rows: Iterable[Sequence[float | str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.12e}"
