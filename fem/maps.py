"""Averages of an image over cells: exact integrals of the image, trilinear between the centers of its voxels.

The average of a cell is the integral over the tetrahedron, whatever its size: in a cell smaller than a voxel it is the
interpolated value, in one much larger the mean of the voxels in it, each by the part of it that lies inside. A linear
image is therefore reproduced exactly, and the integral of a map over a region of whole voxels is that of its voxels.

Where an image ends, or is cut out along the edge of a tumor (a map that holds values in a region of interest only), the
voxels at the edge hold a mixture of both sides (partial volume), and averaging cannot undo that: the outermost cells
carry it over about one voxel. Voxels without a value count nothing, so that zeros or holes beyond the edge are not
mixed in: a cell that reaches beyond has the average of the part of it that lies in voxels with a value, which go on
flat for half a voxel from their centers. Say `no_value = 0` where zero stands for "no value".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import MPI  # isort: skip  (MPI before DOLFINx)

from turgor.fem.clipping import integrate
from turgor.materials.errors import TurgorError
from turgor.meshing.images import read_image, volume
from turgor.meshing.tensors import Layout, read_tensors

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Numbers = NDArray[np.number]

BLOCK = 4_000_000
"""Voxels that are held as float64 at once, unless a single cell needs more."""

ROUNDING = 1e-12
"""A cell that lacks a smaller part of its volume is covered."""


def lattice(n: int) -> Array:
    """Return n(n+1)(n+2)/6 points spread evenly in a tetrahedron, barycentric, shape (n_points, 4)."""
    i, j, k = (index.ravel() for index in np.meshgrid(*3 * [np.arange(n)], indexing="ij"))
    inside = i + j + k < n
    counts = np.stack([i, j, k, n - 1 - i - j - k], axis=1)[inside]
    return np.asarray((counts + 0.25) / n)


@dataclass(frozen=True)
class Source:
    """Which numbers of which file make a map.

    Attributes:
        file: The image.
        no_value: Number that stands for no value, beside NaN.
        tensor: Whether each voxel holds a tensor.
        components: Order of its six numbers, as in the case.
        frame: What its axes are, as in the case.
    """

    file: Path
    no_value: float | None = None
    tensor: bool = False
    components: tuple[str, ...] = ()
    frame: str = ""


@dataclass(frozen=True)
class Averages:
    """What an image has in cells.

    Attributes:
        values: Averages over the covered part of each cell in the image's numbers, shape (n,), or (n, 6) for tensors
            xx, xy, xz, yy, yz, zz in the RAS frame; zero where nothing is covered.
        covered: Part of each cell in voxels with a value, shape (n,).
        inside: Part of each cell in the image, shape (n,).
        notes: What was taken for granted in reading, one sentence each.
    """

    values: Array
    covered: Array
    inside: Array
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Opened:
    """An image without its voxels, known to all ranks, and the voxels on rank 0."""

    shape: tuple[int, ...]
    affine: Array
    layout: Layout | None
    notes: tuple[str, ...]
    dtype: str


def cell_averages(source: Source, cells: Array, comm: MPI.Comm) -> Averages | str:
    """Average an image over tetrahedra; collective.

    Rank 0 reads the image, and each rank receives the box of it that its cells need, in the numbers of the file.

    Args:
        source: The image.
        cells: Vertices in world coordinates [mm], shape (n, 4, 3).
        comm: Communicator of the mesh.

    Returns:
        The averages, or what is wrong with the image, the same on all ranks.
    """
    opened, voxels = _open(source) if comm.rank == 0 else ("", np.zeros((0, 0, 0)))
    opened = comm.bcast(opened, root=0)
    if isinstance(opened, str):
        return opened
    to_voxel = np.linalg.inv(opened.affine)
    points = cells @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    window = _window(points, opened.shape)
    part = _share(voxels, window, opened, comm)
    points -= window[0]
    channels = 6 if opened.layout else 1
    sums, covered, inside = np.zeros((len(points), channels)), np.zeros(len(points)), np.zeros(len(points))
    for chosen in _blocks(points, part.shape[:3], np.arange(len(points))):
        low, high = _window(points[chosen], part.shape)
        crop = part[tuple(slice(*ends) for ends in zip(low, high, strict=True))]
        found = [np.zeros((len(chosen), channels)), np.zeros(len(chosen)), np.zeros(len(chosen))]
        integrate(points[chosen] - low, _numbers(crop, source, opened.layout), *found)
        sums[chosen], covered[chosen], inside[chosen] = found
    edges = points[:, 1:] - points[:, :1]
    means = sums / np.where(covered > 0, covered, 1.0)[:, None]
    parts = [np.minimum(volume / np.abs(np.linalg.det(edges) / 6), 1.0) for volume in (covered, inside)]
    covered, inside = (np.where(part > 1 - ROUNDING, 1.0, part) for part in parts)
    return Averages(means if opened.layout else means[:, 0], covered, inside, opened.notes)


def _open(source: Source) -> tuple[_Opened | str, Numbers]:
    """Read an image, or say what is wrong with it."""
    try:
        if source.tensor:
            values, affine, layout, notes = read_tensors(source.file, source.components, source.frame)
        else:
            image = read_image(source.file)
            values, affine, layout, notes = volume(source.file, image), image.affine, None, image.repairs
    except TurgorError as error:
        return str(error), np.zeros((0, 0, 0))
    return _Opened(values.shape, np.asarray(affine), layout, notes, values.dtype.str), values


def _window(points: Array, shape: tuple[int, ...]) -> tuple[Ints, Ints]:
    """Return the first voxel that cells need on each axis, and the one behind the last; at least one voxel."""
    limits = np.array(shape[:3])
    if not len(points):
        return np.zeros(3, np.int64), np.ones(3, np.int64)
    ends = np.floor(points.min(axis=(0, 1))) - 1, np.floor(points.max(axis=(0, 1))) + 3
    low = np.clip(ends[0], 0, limits - 1).astype(np.int64)
    return low, np.clip(ends[1], low + 1, limits).astype(np.int64)


def _share(voxels: Numbers, window: tuple[Ints, Ints], opened: _Opened, comm: MPI.Comm) -> Numbers:
    """Return the window that this rank asked for; rank 0 has the voxels. Collective."""
    if comm.size == 1:
        return voxels[tuple(slice(*ends) for ends in zip(*window, strict=True))]
    wanted = comm.gather(window, root=0)
    size = tuple(int(n) for n in window[1] - window[0])
    if comm.rank > 0:
        part: Numbers = np.empty((*size, *opened.shape[3:]), dtype=opened.dtype)
        for layer in part:
            comm.Recv(layer.view(np.uint8), source=0)
        return part
    parts = [voxels[tuple(slice(*ends) for ends in zip(*one, strict=True))] for one in wanted or ()]
    for rank in range(1, comm.size):
        for layer in parts[rank]:
            comm.Send(np.ascontiguousarray(layer).view(np.uint8), dest=rank)
    return parts[0]


def _blocks(points: Array, shape: tuple[int, ...], chosen: Ints) -> Iterator[Ints]:
    """Yield groups of cells that need few voxels each, by halving along the longest axis."""
    if not len(chosen):
        return
    low, high = _window(points[chosen], shape)
    if len(chosen) == 1 or np.prod(high - low) <= BLOCK:
        yield chosen
        return
    along = points[chosen, :, int(np.argmax(high - low))].mean(axis=1)
    order = np.argsort(along, kind="stable")
    yield from _blocks(points, shape, chosen[order[: len(order) // 2]])
    yield from _blocks(points, shape, chosen[order[len(order) // 2 :]])


def _numbers(crop: Numbers, source: Source, layout: Layout | None) -> Array:
    """Return voxels as numbers with channels last, NaN in the first channel where there is no value."""
    if layout is not None:
        return layout.world(crop)
    values = np.array(crop, dtype=np.float64, order="C")[..., None]
    values[~np.isfinite(values)] = np.nan
    if source.no_value is not None:
        values[values == source.no_value] = np.nan
    return values
