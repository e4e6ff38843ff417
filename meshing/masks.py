"""Masks that may overlap: who keeps a shared voxel, and masks of several grids on one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turgor.materials.errors import SegmentationError
from turgor.meshing.images import slabs
from turgor.meshing.voxels import Color, Floats

Mask = NDArray[np.bool_]

SAME = 1e-3
"""Distance in voxels up to which two grids are one."""

MOST_COVERED = 512**3
"""Voxels up to which the finest grid is extended to hold all masks."""

MOST_VOTES = 4
"""Samples along each axis of a coarse voxel that vote, at most."""


@dataclass(frozen=True)
class Layer:
    """One mask of several.

    Attributes:
        number: By which number a case may call it.
        name: By which name, too; empty if it has none.
        color: Red, green, blue, 0 to 255; None if it has none.
    """

    number: int
    name: str
    color: Color | None = None

    def __str__(self) -> str:
        """Return what it is called in a sentence."""
        return repr(self.name) if self.name else str(self.number)


@dataclass(frozen=True)
class Layers:
    """Masks on one grid, each made when it is asked for.

    Attributes:
        kind: What one is called: "segment", "structure", "channel", "mask".
        layers: The masks.
        shape: Of the grid.
        affine: Voxel index to RAS millimeters, shape (4, 4).
        mask: Index of a layer -> its mask and what was mended in making it.
        notes: What was chosen, one sentence each.
        repairs: What was mended, one sentence each.
    """

    kind: str
    layers: tuple[Layer, ...]
    shape: tuple[int, int, int]
    affine: Floats
    mask: Callable[[int], tuple[Mask, tuple[str, ...]]]
    notes: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Composed:
    """Regions from masks.

    Attributes:
        values: 0 outside, i + 1 for the i-th region, shape of the grid.
        notes: Voxels that a region gave to another by priority, one sentence each.
        repairs: What was mended.
    """

    values: NDArray[np.int32]
    notes: tuple[str, ...]
    repairs: tuple[str, ...]


def composed(layers: Layers, regions: Mapping[str, Sequence[int]], priority: Sequence[str]) -> Composed:
    """Join masks to regions; a voxel that several claim goes to the one that is first in the priority.

    Args:
        layers: The masks.
        regions: Name -> indices of its masks.
        priority: Names, the highest first; those that are not listed come after them.

    Raises:
        SegmentationError: A mask is empty, two regions overlap without priority, or one is wholly covered.
    """
    names = list(regions)
    rank = {name: -index for index, name in enumerate(priority)}
    lowest = -len(priority)
    order = sorted(names, key=lambda name: rank.get(name, lowest))
    values = np.zeros(layers.shape, dtype=np.int32, order="F")
    own = dict.fromkeys(names, 0)
    taken: dict[tuple[str, str], int] = {}
    repairs: list[str] = []
    for name in order:
        mask, mended = _joined(layers, name, regions[name])
        repairs += mended
        own[name] = int(np.count_nonzero(mask))
        counts = _counts(values, mask, len(names))
        for index in np.flatnonzero(counts[1:]).tolist():
            if name not in priority:
                one, two = sorted((names[index], name), key=lambda region: own[region])
                _refuse_overlap(layers, one, two, mask & (values == index + 1))
            taken[names[index], name] = int(counts[index + 1])
        values[mask] = names.index(name) + 1
    left = _counts(values, None, len(names))
    for index, name in enumerate(names):
        if left[index + 1] == 0:
            raise SegmentationError(
                f"mesh.image.priority: region {name!r} is wholly covered by regions before it; put it further ahead"
            )
    notes = tuple(
        f"{loser}: {count} of its {own[loser]} voxels lie in {winner}, too, and went to it by priority"
        for (loser, winner), count in taken.items()
    )
    return Composed(values, notes, tuple(repairs))


def _counts(values: NDArray[np.int32], mask: Mask | None, regions: int) -> NDArray[np.int64]:
    """Return how many voxels (of a mask) each region has, 0 first."""
    counts = np.zeros(regions + 1, dtype=np.int64)
    for part, slab in slabs(values):
        counts += np.bincount(slab.ravel() if mask is None else slab[mask[:, :, part]], minlength=regions + 1)
    return counts


def _joined(layers: Layers, name: str, indices: Sequence[int]) -> tuple[Mask, list[str]]:
    """Return the union of the masks of a region, and what was mended."""
    whole: Mask | None = None
    mended: list[str] = []
    for index in indices:
        mask, repairs = layers.mask(index)
        if not mask.any():
            raise SegmentationError(f"mesh.image: {layers.kind} {layers.layers[index]} of region {name!r} is empty")
        whole = mask if whole is None else whole | mask
        mended += repairs
    if whole is None:
        raise SegmentationError(f"mesh.image: region {name!r} has no {layers.kind}")
    return whole, mended


def _refuse_overlap(layers: Layers, one: str, two: str, shared: Mask) -> None:
    """Raise, naming the voxels that two regions claim."""
    first = np.argwhere(shared)[0]
    place = layers.affine[:3, :3] @ first + layers.affine[:3, 3]
    where = f"voxel ({', '.join(map(str, first.tolist()))}) at {', '.join(f'{x:.4g}' for x in place)} mm"
    raise SegmentationError(
        f"mesh.image: regions {one!r} and {two!r} share {int(np.count_nonzero(shared))} voxels, the first is {where}; "
        f'say who keeps them: priority = ["{one}", "{two}"], the highest first'
    )


@dataclass(frozen=True)
class Packed:
    """A mask on a grid of its own, eight voxels a byte.

    Attributes:
        name: Its file.
        bits: The mask, packed.
        shape: Of the grid.
        affine: Voxel index to RAS millimeters, shape (4, 4).
    """

    name: str
    bits: NDArray[np.uint8]
    shape: tuple[int, int, int]
    affine: Floats

    @classmethod
    def of(cls, name: str, mask: Mask, affine: Floats) -> Packed:
        """Pack a mask."""
        nx, ny, nz = mask.shape
        return cls(name, np.packbits(mask.ravel(order="F")), (nx, ny, nz), affine)

    def mask(self) -> Mask:
        """Return the mask."""
        flat = np.unpackbits(self.bits, count=int(np.prod(self.shape))).view(np.bool_)
        return flat.reshape(self.shape, order="F")


def voxel_volume(affine: Floats) -> float:
    """Return the volume of a voxel [mm^3]."""
    return abs(float(np.linalg.det(affine[:3, :3])))


def same_grid(shape: Sequence[int], affine: Floats, other: Packed) -> bool:
    """Whether a mask lies on a grid, within `SAME` of a voxel at the corners."""
    if tuple(shape) != other.shape:
        return False
    corners = _corners(shape)
    apart = np.abs((affine - other.affine)[:3] @ corners.T).max()
    return bool(apart <= SAME * voxel_volume(affine) ** (1 / 3))


def _corners(shape: Sequence[int]) -> Floats:
    """Return the corners of a grid in voxel indices, shape (8, 4)."""
    return np.array(
        [[i, j, k, 1.0] for i in (-0.5, shape[0] - 0.5) for j in (-0.5, shape[1] - 0.5) for k in (-0.5, shape[2] - 0.5)]
    )


def refuse_other_frame(shape: Sequence[int], affine: Floats, other: Packed, reference: str) -> None:
    """Raise when a mask has as many voxels as the reference but lies elsewhere: one of the frames is wrong."""
    if sorted(shape) != sorted(other.shape):
        return
    here, there = (_corners(s) @ a.T for s, a in ((shape, affine), (other.shape, other.affine)))
    apart = max(np.abs(here.min(0) - there.min(0)).max(), np.abs(here.max(0) - there.max(0)).max())
    voxel = float(np.linalg.norm(affine[:3, :3], axis=0).max())
    if apart > voxel:
        raise SegmentationError(
            f"mesh.image.masks: {other.name} has as many voxels as {reference}, but lies {apart:.3g} mm apart from it; "
            "one of their headers is wrong: write both in one frame"
        )


def covering(
    shape: tuple[int, int, int], affine: Floats, others: Sequence[Packed]
) -> tuple[tuple[int, int, int], Floats]:
    """Extend a grid by whole voxels until it holds those of all masks.

    Raises:
        SegmentationError: A mask lies apart from all others, or the grid becomes too large.
    """
    to_grid = np.linalg.inv(affine)
    boxes = [(to_grid @ one.affine @ _corners(one.shape).T)[:3] for one in others]
    lows, highs = np.array([box.min(axis=1) for box in boxes]), np.array([box.max(axis=1) for box in boxes])
    size = np.prod(highs - lows, axis=1)
    for i, one in enumerate(others):
        shared = np.prod(np.maximum(np.minimum(highs, highs[i]) - np.maximum(lows, lows[i]), 0.0), axis=1)
        if len(others) > 1 and (shared > 0.5 * np.minimum(size, size[i])).sum() == 1:
            raise SegmentationError(
                f"mesh.image.masks: {one.name} lies apart from all other masks; is its header right? If so, set "
                "mesh.image.reference to an image that holds all of them"
            )
    before = np.ceil(np.maximum(-0.5 - lows.min(axis=0) - SAME, 0.0)).astype(int)
    after = np.ceil(np.maximum(highs.max(axis=0) + 0.5 - np.array(shape) - SAME, 0.0)).astype(int)
    nx, ny, nz = (np.array(shape) + before + after).tolist()
    if nx * ny * nz > max(MOST_COVERED, int(np.prod(shape))):
        raise SegmentationError(
            f"mesh.image.masks: all masks on the finest of their grids would be {nx} x {ny} x {nz} voxels; set "
            "mesh.image.reference to the file with the grid to take"
        )
    moved = affine.copy()
    moved[:3, 3] -= affine[:3, :3] @ before
    return (nx, ny, nz), moved


def same_lattice(affine: Floats, other: Packed) -> bool:
    """Whether each voxel of a mask is one of a grid, if that is large enough."""
    apart = np.linalg.inv(affine) @ other.affine - np.eye(4)
    apart[:3, 3] -= np.rint(apart[:3, 3])
    return bool(np.abs(apart[:3] @ _corners(other.shape).T).max() <= SAME)


def refuse_beyond(shape: Sequence[int], affine: Floats, other: Packed, reference: str) -> None:
    """Raise when a mask has voxels that lie wholly outside of a grid, and would be lost on it."""
    to_grid = np.linalg.inv(affine) @ other.affine
    half = 0.5 * np.abs(to_grid[:3, :3]).sum(axis=1) + SAME
    mask, lost = other.mask(), 0
    for part, slab in slabs(mask):
        at = np.argwhere(slab) + np.array([0, 0, part.start])
        index = at @ to_grid[:3, :3].T + to_grid[:3, 3]
        lost += int(((index + half < -0.5) | (index - half > np.array(shape) - 0.5)).any(axis=1).sum())
    if lost:
        raise SegmentationError(
            f"mesh.image.masks: {lost} of the {int(np.count_nonzero(mask))} voxels of {other.name} lie outside of the "
            f"grid of {reference} and would be lost; name a reference with a grid that holds all masks, or none"
        )


def resampled_mask(shape: tuple[int, int, int], affine: Floats, source: Packed) -> tuple[Mask, float]:
    """Bring a mask onto another grid: by the nearest voxel, or by the majority where the other grid is coarser.

    Returns:
        The mask, and its overlap with the source (Dice, 1 where nothing changed).
    """
    mask = source.mask()
    steps = np.linalg.norm(affine[:3, :3], axis=0) / np.linalg.norm(source.affine[:3, :3], axis=0).min()
    votes = np.clip(np.ceil(steps - SAME), 1, MOST_VOTES).astype(int)
    offsets = [((np.arange(n) + 0.5) / n - 0.5) for n in votes]
    count = np.zeros(shape, dtype=np.uint8, order="F")
    for shift in ((a, b, c) for a in offsets[0] for b in offsets[1] for c in offsets[2]):
        count += _sampled(mask, source.affine, shape, affine, np.array(shift))
    found = 2 * count > int(np.prod(votes))
    back = _sampled(found, affine, source.shape, source.affine, np.zeros(3))
    whole = np.count_nonzero(back) + np.count_nonzero(mask)
    return found, float(2 * np.count_nonzero(back & mask) / whole) if whole else 1.0


def _sampled(mask: Mask, own: Floats, shape: tuple[int, int, int], affine: Floats, shift: Floats) -> Mask:
    """Return the nearest voxel of a mask at the (shifted) centers of another grid; outside of it there is nothing."""
    to_source = np.linalg.inv(own) @ affine
    found = np.zeros(shape, dtype=np.bool_, order="F")
    i, j = np.meshgrid(np.arange(shape[0]) + shift[0], np.arange(shape[1]) + shift[1], indexing="ij")
    for k in range(shape[2]):
        inside = np.ones(i.shape, dtype=np.bool_)
        index = []
        for axis in range(3):
            row = to_source[axis]
            at = np.rint(row[0] * i + row[1] * j + (row[2] * (k + shift[2]) + row[3])).astype(np.int64)
            inside &= (at >= 0) & (at < mask.shape[axis])
            index.append(np.clip(at, 0, mask.shape[axis] - 1))
        found[:, :, k] = mask[index[0], index[1], index[2]] & inside
    return found
