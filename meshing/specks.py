"""Small pieces and holes of a segmentation: joined or filled where asked for, counted, told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from turgor.materials.errors import SegmentationError
from turgor.meshing.compiled import compiled
from turgor.meshing.labels import RegionGrid
from turgor.meshing.pieces import CUT, OUTSIDE, Pieces
from turgor.meshing.spec import ImageSpec
from turgor.meshing.tetrahedra import Integers

MOST_PIECES = 1000
ROUNDS = 20
RESOLVED = 27
"""Voxels below which the shape of a piece is not known."""


def tidied(grid: RegionGrid, image: ImageSpec, log: Callable[[str], None]) -> RegionGrid:
    """Join small pieces and fill holes as the case asks for, and refuse noise.

    Raises:
        SegmentationError: There are more than `MOST_PIECES` pieces, and the case does not want so many.
    """
    before = len(grid.repairs)
    grid = replace(grid, pieces=grid.parts)
    grid = merged(grid, image.merge_below)
    grid = replace(grid, pieces=grid.parts)
    if image.fill_holes:
        grid = filled(grid)
        grid = replace(grid, pieces=grid.parts)
    for sentence in grid.repairs[before:]:
        log(f"mesh: {sentence}")
    if not image.many_pieces:
        refuse_noise(grid)
    return grid


def merged(grid: RegionGrid, below: int) -> RegionGrid:
    """Give pieces of fewer voxels to the neighbor they touch most.

    The largest piece of a region and the pieces of protected regions stay.

    Args:
        grid: The regions.
        below: Smallest number of voxels that a piece may have; 0 or 1 changes nothing.
    """
    if below <= 1:
        return grid
    count, voxels = dict.fromkeys(grid.names, 0), dict.fromkeys(grid.names, 0)
    for _ in range(ROUNDS):
        pieces = grid.parts
        small = _small(pieces, below, grid.protected)
        if not small:
            break
        values = _given(grid.values, pieces, small)
        if np.array_equal(values, grid.values):
            break
        for i in small:
            count[pieces.names[i]] += 1
            voxels[pieces.names[i]] += int(pieces.voxels[i])
        grid = replace(grid, values=values, pieces=None)
    told = [
        f"{name}: {count[name]} pieces of fewer than {below} voxels joined their neighbors ({voxels[name]} voxels)"
        for name in grid.names
        if count[name]
    ]
    return _counted(replace(grid, repairs=(*grid.repairs, *told)))


def _small(pieces: Pieces, below: int, protected: tuple[str, ...]) -> list[int]:
    """Return the pieces that are too small, without those that must stay."""
    found = []
    for name in dict.fromkeys(pieces.names[2:]):
        own = pieces.of(name)
        if name != "outside" and name not in protected:
            largest = int(own[np.argmax(pieces.voxels[own])])
            found += [i for i in own.tolist() if pieces.voxels[i] < below and i != largest]
    return sorted(found, key=lambda i: (int(pieces.voxels[i]), i))


def _given(values: NDArray[np.int16], pieces: Pieces, which: list[int]) -> NDArray[np.int16]:
    """Return the values with pieces given to the neighbor that they share the most faces with; others of them wait."""
    found = np.pad(values, 1)
    ids = pieces.ids
    waiting = np.zeros(len(pieces.names), dtype=bool)
    waiting[which] = True
    waiting[CUT] = True
    boxes = ndimage.find_objects(ids)
    for i in which:
        box = tuple(slice(part.start - 1, part.stop + 1) for part in boxes[i - 1])
        own = ids[box] == i
        votes = np.zeros(int(values.max()) + 1)
        for axis in range(3):
            for step in (-1, 1):
                beside = np.roll(own, step, axis=axis) & ~own & ~waiting[ids[box]]
                votes += np.bincount(found[box][beside], minlength=len(votes))
        if votes.any():
            found[box][own] = votes.argmax()
    return np.ascontiguousarray(found[1:-1, 1:-1, 1:-1])


def filled(grid: RegionGrid) -> RegionGrid:
    """Give voids of background inside of regions to the region around them."""
    pieces = grid.parts
    holes = _holes(pieces)
    if not holes:
        return grid
    values = _given(grid.values, pieces, holes)
    count = int(pieces.voxels[holes].sum())
    told = f"{len(holes)} holes of {count} voxels in all were given to the regions around them"
    return _counted(replace(grid, values=values, pieces=None, repairs=(*grid.repairs, told)))


def _holes(pieces: Pieces) -> list[int]:
    """Return the voids that do not reach the end of the image."""
    ends = pieces.touching[(pieces.touching == CUT).any(axis=1)].ravel()
    return [i for i in pieces.of("outside").tolist() if i != OUTSIDE and i not in ends]


def _counted(grid: RegionGrid) -> RegionGrid:
    """Return the grid with the voxels of each name counted anew."""
    count = np.bincount(grid.values.ravel(), minlength=len(grid.names) + 1)
    return replace(grid, voxels={name: int(count[i + 1]) for i, name in enumerate(grid.names)})


def refuse_noise(grid: RegionGrid) -> None:
    """Raise when the regions fall into more pieces than organs do.

    Raises:
        SegmentationError: There are more than `MOST_PIECES`.
    """
    pieces = grid.parts
    if int(pieces.solid().sum()) <= MOST_PIECES:
        return
    most = max(grid.names, key=lambda name: len(pieces.of(name)))
    single = int((pieces.voxels[pieces.of(most)] == 1).sum())
    raise SegmentationError(
        f"mesh.image: the regions fall into {int(pieces.solid().sum())} pieces, region {most!r} alone into "
        f"{len(pieces.of(most))}, {single} of them single voxels; set mesh.image.merge_below = 10 or more, clean the "
        "segmentation, or set mesh.image.many_pieces = true if each of them is wanted"
    )


def remarks(pieces: Pieces, protected: tuple[str, ...]) -> list[str]:
    """Say what is odd about a segmentation that is meshed as it is, one sentence each."""
    told = []
    pairs = _corner_pairs(pieces)
    for name in dict.fromkeys(pieces.names[2:]):
        own = pieces.of(name)
        meeting = pairs[np.isin(pairs[:, 0], own)]
        if len(meeting):
            told.append(
                f"self contact: pieces of {name!r} meet at edges or corners of voxels only ({len(meeting)} pairs, "
                f"the first {pieces.said(int(meeting[0, 0]))}); they are {len(own)} pieces in the mesh"
            )
        tiny = own[pieces.voxels[own] < RESOLVED]
        if name in protected and len(tiny):
            told.append(
                f"{len(tiny)} of {len(own)} pieces of {name!r} have fewer than {RESOLVED} voxels, so that their volume "
                "is known, but not their shape"
            )
    ends = pieces.touching[pieces.touching[:, 0] == CUT, 1]
    cut = [
        name for name in dict.fromkeys(pieces.names[2:]) if name != "outside" and np.isin(pieces.of(name), ends).any()
    ]
    if cut:
        told.append(f"the image ends within {', '.join(cut)}; the faces there are called '|cut'")
    holes = _holes(pieces)
    if holes:
        told.append(
            f"{len(holes)} voids of background, {int(pieces.voxels[holes].sum())} voxels in all, lie inside of regions "
            "and are left empty; in a label image, mesh.image.fill_holes = true fills them"
        )
    return told


def _corner_pairs(pieces: Pieces) -> Integers:
    """Return the pairs of pieces of one name of which voxels share an edge or corner, first < second, shape (c, 2)."""
    row = np.unique(np.array(pieces.names), return_inverse=True)[1].astype(np.int64)
    keys = np.unique(_across(pieces.ids, np.where(pieces.solid(), row, -1 - np.arange(len(row)))))
    count = len(pieces.names)
    return np.stack([keys // count, keys % count], axis=1)


@compiled
def _across(ids: NDArray[np.int32], row: Integers) -> Integers:
    """Return first * n + second for voxels of one name and two pieces that share an edge or corner."""
    total = 0
    keys = np.empty(64, dtype=np.int64)
    for x in range(1, ids.shape[0] - 1):
        for y in range(1, ids.shape[1] - 1):
            for z in range(1, ids.shape[2] - 1):
                own = ids[x, y, z]
                for n in range(14, 27):
                    other = ids[x + n // 9 - 1, y + n // 3 % 3 - 1, z + n % 3 - 1]
                    if other != own and row[other] == row[own]:
                        if total == len(keys):
                            keys = np.concatenate((keys, np.empty(len(keys), dtype=np.int64)))
                        keys[total] = min(own, other) * np.int64(len(row)) + max(own, other)
                        total += 1
    return keys[:total]
