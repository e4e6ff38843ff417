"""A map on the cells of a region: what has no value is refused or filled, then it is scaled and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from turgor.fem.startup import MPI  # isort: skip  (MPI before DOLFINx)

from turgor.fem.domain import Domain
from turgor.fem.maps import Averages
from turgor.materials.parameters import PARAMETERS
from turgor.materials.values import ImageMap
from turgor.resolve import Given

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

ROUNDING = 1e-9
BEYOND = 1e-3
"""Part of a region that may lie beyond the image, because surfaces are smooth; it takes the nearest values."""

EMPTY = 1e-6
"""Part of a region that may lie in voxels without a value: none, but for rounding."""

MANY_ZEROS = 0.01
"""Part of a region in which a map is zero that is worth a sentence."""

TIE = 1e-9
"""Cells whose distances differ by less, relative to the distance, are equally near."""


@dataclass(frozen=True)
class MapRecord:
    """What was made of a map in a region, for the run's record.

    Attributes:
        region: The region.
        parameter: The parameter.
        file: Name of the image.
        kind: "absolute" or "relative".
        tensor: Whether it is one of tensors; the numbers below are then of a third of their trace.
        missing: What parts without a value got: "refuse" (nothing was missing), "mean" or "nearest".
        beyond: Part of the region's volume beyond the image.
        empty: Part in voxels without a value.
        zero: Part where the map is zero.
        unit: Internal unit of the parameter.
        factor: From the image's numbers to that unit.
        mean: Mean over the region.
        least: Smallest average of a cell.
        most: Largest average of a cell.
        anisotropy: Largest ratio of a cell's eigenvalues; 1 without tensors.
        sentences: What the reader should know.
    """

    region: str
    parameter: str
    file: str
    kind: str
    tensor: bool
    missing: str
    beyond: float
    empty: float
    zero: float
    unit: str
    factor: float
    mean: float
    least: float
    most: float
    anisotropy: float = 1.0
    sentences: tuple[str, ...] = ()

    def as_words(self) -> dict[str, object]:
        """Return the record for a file."""
        return asdict(self)

    def __str__(self) -> str:
        """Return one line: how much of the region the map covers and what it gives there."""
        lacking = 100 * (self.beyond + self.empty)
        filled = "" if lacking < 1e-7 else f" ({lacking:.3g} % filled, {self.missing})"
        return (
            f"materials.{self.region}.{self.parameter}: {self.file} covers {100 - lacking:.4g} % of the region"
            f"{filled}; mean {self.mean:.3g}, cells {self.least:.3g} to {self.most:.3g} {self.unit}".rstrip()
        )


@dataclass(frozen=True)
class Mapped:
    """A map on the local cells of a region.

    Attributes:
        values: In the internal unit, a third of the trace of tensors, shape (n,).
        tensors: Shape (n, 3, 3); None for a map of numbers.
        record: What was made of it; None when it is refused.
        problems: Why it is refused.
    """

    values: Array
    tensors: Array | None
    record: MapRecord | None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Cells:
    """Local cells of a region, ghosts included.

    Attributes:
        comm: Communicator of the mesh.
        owned: Which of them this rank owns.
        volumes: Their volumes [mm³].
        centers: Their barycenters [mm].
    """

    comm: MPI.Comm
    owned: Flags
    volumes: Array
    centers: Array

    def sum(self, values: Array) -> Array:
        """Return the integral over the region of what is constant in each cell, for each channel; collective."""
        weights = self.volumes[self.owned]
        return np.asarray(self.comm.allreduce(weights @ values[self.owned], op=MPI.SUM))

    def ends(self, values: Array) -> tuple[float, float]:
        """Return the smallest and the largest value over all ranks; collective."""
        least = self.comm.allreduce(float(values.min(initial=np.inf)), op=MPI.MIN)
        return least, self.comm.allreduce(float(values.max(initial=-np.inf)), op=MPI.MAX)


def mapped(domain: Domain, region: str, given: Given, image: ImageMap, found: Averages) -> Mapped:
    """Make the values of a region from the averages of an image over its local cells; collective.

    Args:
        domain: The mesh.
        region: Its name.
        given: The parameter, with what the map scales and what is expected of it.
        image: What the case says of the map.
        found: Averages over the local cells of that region, ghosts included.
    """
    chosen = np.flatnonzero(domain.region == domain.regions.index(region))
    cells = _Cells(domain.comm, chosen < domain.owned, domain.volumes[chosen], domain.centers[chosen])
    rows = found.values.reshape(len(chosen), -1)
    volume, inside, covered = (float(cells.sum(part)) for part in (np.ones(len(chosen)), found.inside, found.covered))
    beyond, empty = 1 - inside / volume, (inside - covered) / volume
    name = image.file.name
    refused = _lacking(name, image, beyond, empty)
    if refused:
        return Mapped(rows[:, 0], None, None, (refused,))
    rows = _filled(cells, rows, found.covered, image.missing)
    tensor = rows.shape[1] == 6
    values = rows[:, [0, 3, 5]].mean(axis=1) if tensor else rows[:, 0]
    mean = float(cells.sum(values)) / volume
    if image.relative and not mean > 0:
        return Mapped(
            values, None, None, (f"the map {name} has mean {mean:g} over the region, expected more than zero",)
        )
    factor = given.number() / mean if image.relative else image.factor
    zero = float(cells.sum((values == 0).astype(float))) / volume
    values, rows, mean = factor * values, factor * rows, factor * mean
    least, most = cells.ends(values)
    problems, sentences = _checked(name, given, image, mean, (least, most))
    sentences = (*found.notes, *sentences, *_of_zeros(name, zero, image))
    tensors = rows[:, [[0, 1, 2], [1, 3, 4], [2, 4, 5]]] if tensor else None
    record = MapRecord(
        region=region,
        parameter=given.parameter,
        file=name,
        kind="relative" if image.relative else "absolute",
        tensor=tensor,
        missing=image.missing,
        beyond=max(beyond, 0.0),
        empty=max(empty, 0.0),
        zero=zero,
        unit=image.unit,
        factor=factor,
        mean=mean,
        least=least,
        most=most,
        anisotropy=_anisotropy(cells, tensors),
        sentences=tuple(f"materials.{region}.{given.parameter}: {sentence}" for sentence in sentences),
    )
    return Mapped(values, tensors, record, problems)


def _lacking(name: str, image: ImageMap, beyond: float, empty: float) -> str:
    """Return why a map that does not cover its region is refused, or an empty text."""
    if 1 - beyond - empty < ROUNDING:
        return f"the map {name} covers 0.0 % of the region, expected all of it; is it of this patient and frame?"
    if image.missing != "refuse" or (beyond <= BEYOND and empty <= EMPTY):
        return ""
    where = [(beyond, "lies beyond the image"), (empty, "lies in voxels without a value (NaN)")]
    parts = " and ".join(f"{100 * part:.3g} % {words}" for part, words in where if part > EMPTY)
    return (
        f"the map {name} covers {_percent(1 - beyond - empty)} % of the region, expected all of it; {parts}. Mend the "
        'map, or say missing = "mean" (they get the mean of the rest) or missing = "nearest"'
    )


def _percent(part: float) -> str:
    """Return a part in percent with one digit, and more where it would read as all."""
    return f"{100 * part:.1f}" if part < 0.9995 else f"{100 * part:.6g}"


def _filled(cells: _Cells, rows: Array, covered: Array, missing: str) -> Array:
    """Return averages with values where the map has none; collective.

    With "mean" the part of a cell without a value counts as having the mean over all that is covered; else a cell has
    the average of its covered part, and one without any that of the nearest cells with one, by their centers.
    """
    if missing == "mean":
        mean = cells.sum(rows * covered[:, None]) / cells.sum(covered)
        return np.asarray(rows * covered[:, None] + np.outer(1 - covered, mean))
    bare = covered <= 0
    if not max(cells.comm.allgather(bool(bare.any()))):
        return rows
    there = ~bare & cells.owned
    parts = cells.comm.allgather((cells.centers[there], rows[there]))
    centers, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    filled = rows.copy()
    filled[bare] = _nearest(centers, values, cells.centers[bare])
    return filled


def _nearest(centers: Array, values: Array, points: Array) -> Array:
    """Return the values at the nearest centers; the mean where several are equally near, so that no order counts."""
    if not len(points):
        return values[:0]
    tree = cKDTree(centers)
    away, _ = tree.query(points)
    near = tree.query_ball_point(points, away * (1 + TIE))
    return np.array([values[chosen].mean(axis=0) for chosen in near])


def _checked(
    name: str, given: Given, image: ImageMap, mean: float, ends: Sequence[float]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return why values are refused, and what is to be known of them."""
    problems: list[str] = []
    sentences: list[str] = []
    parameter = PARAMETERS.get(given.parameter)
    if parameter is not None and (ends[0] < parameter.low or ends[1] > parameter.high * (1 + ROUNDING)):
        bad = ends[0] if ends[0] < parameter.low else ends[1]
        problems.append(
            f"the map {name} gives {bad:g} {parameter.unit} somewhere in the region, expected "
            f"{parameter.low:g} to {parameter.high:g}; set such voxels right first"
        )
    if given.usual is not None and given.usual.doubtful(mean):
        sentence = f"the map {name} has mean {given.usual.sentence(mean, image.unit)}"
        mend = f' If it is, say mean = "{mean:.3g} {image.unit}" beside the image'
        (problems if given.usual.absurd(mean) else sentences).append(sentence + mend)
    return tuple(problems), tuple(sentences)


def _of_zeros(name: str, zero: float, image: ImageMap) -> list[str]:
    """Say that a map is zero in much of its region, which may be a fit that failed."""
    if zero <= MANY_ZEROS or image.no_value == 0.0:
        return []
    return [f"the map {name} is zero in {100 * zero:.3g} % of the region; where zero means no value, say no_value = 0"]


def _anisotropy(cells: _Cells, tensors: Array | None) -> float:
    """Return the largest ratio of the eigenvalues of a cell; collective."""
    if tensors is None:
        return 1.0
    found = np.linalg.eigvalsh(tensors)
    return cells.ends(found[:, 2] / found[:, 0])[1]
