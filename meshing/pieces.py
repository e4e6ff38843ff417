"""The face-connected pieces of a segmentation, and which of them touch: what a mesh must have, too."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.compiled import compiled
from turgor.meshing.tetrahedra import Floats, Integers

OUTSIDE, CUT = 0, 1
BEYOND = np.int16(-1)
"""Value of the padding where the image ends."""


@dataclass(frozen=True)
class Pieces:
    """The pieces of each region, cavity and void: voxels of one name that are joined through faces.

    Attributes:
        ids: Piece by voxel of a grid, padded by one voxel of outside or cut, shape (nx + 2, ny + 2, nz + 2).
        names: Name of each: "outside", "cut", then the pieces by name and first voxel, then voids as "outside".
        voxels: Voxels of each in the image, shape (k,).
        volumes: Volume of each as segmented [mm^3], shape (k,).
        places: Center of each in RAS [mm], shape (k, 3).
        touching: Pairs that share a voxel face in the image, first < second, shape (c, 2).
    """

    ids: NDArray[np.int32]
    names: tuple[str, ...]
    voxels: Integers
    volumes: Floats
    places: Floats
    touching: Integers

    def solid(self) -> NDArray[np.bool_]:
        """Say of each whether it is a piece of a region or cavity, shape (k,)."""
        return np.array([name not in ("outside", "cut") for name in self.names])

    def rows(self, names: tuple[str, ...]) -> Integers:
        """Return the position of each piece's name in a list, from 1; 0 for what is outside, shape (k,)."""
        return np.array([names.index(name) + 1 if name in names else 0 for name in self.names])

    def of(self, name: str) -> Integers:
        """Return the pieces of a region or cavity."""
        return np.array([i for i, own in enumerate(self.names) if own == name], dtype=np.int64)

    def on(self, ids: NDArray[np.int32]) -> Pieces:
        """Return the same pieces on another grid."""
        return replace(self, ids=ids)

    def said(self, piece: int) -> str:
        """Name a piece, its size and its place."""
        if self.names[piece] == "cut":
            return "the end of the image"
        x, y, z = self.places[piece]
        where = f"at ({x:.1f}, {y:.1f}, {z:.1f}) mm"
        count = int(self.voxels[piece])
        if self.names[piece] == "outside":
            return "the outside" if piece == OUTSIDE else f"the void of {count} voxels {where}"
        several = len(self.of(self.names[piece])) > 1
        what = f"the piece of {count} voxel{'s' * (count != 1)} {where} of " if several else ""
        return f"{what}region {self.names[piece]!r}"

    def closed(self) -> NDArray[np.int32]:
        """Return the ids with the padding as surfaces need it: cut beside pieces, void or outside beside the rest."""
        parts = self.ids.copy()
        solid = self.solid()
        solid[CUT] = True
        for axis in range(3):
            layers = np.moveaxis(parts, axis, 0)
            middle = tuple(n // 2 for n in layers.shape[1:])
            for face, beside in ((0, 1), (-1, -2)):
                if layers[face][middle] == CUT:
                    layers[face] = np.where(solid[layers[beside]], CUT, layers[beside])
        return parts


def pieces_of(values: NDArray[np.int16], names: tuple[str, ...], cut: NDArray[np.bool_], affine: Floats) -> Pieces:
    """Find the pieces of an image.

    Args:
        values: 0 outside, i + 1 for the i-th name, shape (nx, ny, nz).
        names: Regions and cavities.
        cut: Whether the image ends at the low and high end of each axis, shape (3, 2).
        affine: Voxel index to RAS millimeters, shape (4, 4).
    """
    padded = padded_with_cut(values, cut)
    found, first = labelled(padded)
    value = padded.ravel()[first].astype(np.int64)
    outer = found[0, 0, 0]
    kind = np.where(value > 0, value, len(names) + 1)
    kind[outer], kind[value == BEYOND] = -2, -1
    order = np.lexsort((first, kind))
    is_cut = kind[order] == -1
    node = np.empty(len(order), dtype=np.int32)
    node[order[~is_cut]] = np.concatenate([[0], np.arange(2, 1 + int((~is_cut).sum()))])
    node[order[is_cut]] = CUT
    ids = node[found]
    called = ["outside", "cut"] + ["outside" if v == 0 else names[v - 1] for v in value[order[~is_cut][1:]].tolist()]
    count, center = measured(ids, len(called))
    world = (center - 1.0) @ affine[:3, :3].T + affine[:3, 3]
    volume = np.asarray(count * abs(float(np.linalg.det(affine[:3, :3]))), dtype=np.float64)
    return Pieces(ids, tuple(called), count, volume, world, touching_of(ids, len(called)))


def padded_with_cut(values: NDArray[np.int16], cut: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Return the values in one layer of outside, or of `BEYOND` where the image ends; the frame's edges are outside."""
    padded = np.pad(values, 1)
    inner = slice(1, -1)
    for axis in range(3):
        for end, face in ((0, 0), (1, -1)):
            if cut[axis, end]:
                where: list[slice | int] = [inner, inner, inner]
                where[axis] = face
                padded[tuple(where)] = BEYOND
    return padded


def touching_of(ids: NDArray[np.int32], n_pieces: int) -> Integers:
    """Return the pairs of pieces that share a voxel face on a grid, first < second, shape (c, 2)."""
    keys = np.unique(_unlike(ids, n_pieces))
    return np.stack([keys // n_pieces, keys % n_pieces], axis=1)


@compiled
def _unlike(ids: NDArray[np.int32], n_pieces: int) -> Integers:
    """Return a key for each face between unlike voxels, runs of the same shortened."""
    total = 0
    last = np.full(3, -1, dtype=np.int64)
    keys = np.empty(1024, dtype=np.int64)
    nx, ny, nz = ids.shape
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                own = ids[x, y, z]
                for axis in range(3):
                    if (axis == 0 and x + 1 == nx) or (axis == 1 and y + 1 == ny) or (axis == 2 and z + 1 == nz):
                        continue
                    other = ids[x + (axis == 0), y + (axis == 1), z + (axis == 2)]
                    if other == own:
                        continue
                    key = min(own, other) * np.int64(n_pieces) + max(own, other)
                    if key == last[axis]:
                        continue
                    last[axis] = key
                    if total == len(keys):
                        keys = np.concatenate((keys, np.empty(len(keys), dtype=np.int64)))
                    keys[total] = key
                    total += 1
    return keys[:total]


@compiled
def _root(parent: NDArray[np.int32], one: int) -> int:
    """Return the representative of a set, and shorten the way to it."""
    while parent[one] != one:
        parent[one] = parent[parent[one]]
        one = parent[one]
    return one


@compiled
def labelled(values: NDArray[np.integer]) -> tuple[NDArray[np.int32], Integers]:
    """Number the sets of equal voxels connected through faces, by their first voxel; return that voxel, too."""
    nx, ny, nz = values.shape
    found = np.zeros(values.shape, dtype=np.int32)
    parent = np.arange(1024).astype(np.int32)
    start = np.empty(1024, dtype=np.int64)
    count = 0
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                best = _joined(values, found, parent, x, y, z)
                if best < 0:
                    if count == len(parent):
                        parent = np.concatenate((parent, np.arange(count, 2 * count).astype(np.int32)))
                        start = np.concatenate((start, np.empty(count, dtype=np.int64)))
                    start[count] = (x * ny + y) * nz + z
                    best = count
                    count += 1
                found[x, y, z] = best
    return found, start[: _renumbered(found.ravel(), parent[:count], start)]


@compiled
def _joined(
    values: NDArray[np.integer], found: NDArray[np.int32], parent: NDArray[np.int32], x: int, y: int, z: int
) -> int:
    """Join the sets of the equal voxels before a voxel; return their representative, -1 where there is none."""
    own, best = values[x, y, z], -1
    for axis in range(3):
        i, j, k = x - (axis == 0), y - (axis == 1), z - (axis == 2)
        if min(i, j, k) < 0 or values[i, j, k] != own:
            continue
        other = _root(parent, found[i, j, k])
        if best >= 0 and other != best:
            low, high = min(best, other), max(best, other)
            parent[high] = low
            best = low
        elif best < 0:
            best = other
    return best


@compiled
def _renumbered(flat: NDArray[np.int32], parent: NDArray[np.int32], start: Integers) -> int:
    """Number the sets without gaps, in place; return how many there are."""
    number = np.empty(len(parent), dtype=np.int32)
    kept = 0
    for i in range(len(parent)):
        root = _root(parent, i)
        if root == i:
            number[i] = kept
            start[kept] = start[i]
            kept += 1
        else:
            number[i] = number[root]
    for i in range(len(flat)):
        flat[i] = number[flat[i]]
    return kept


@compiled
def measured(ids: NDArray[np.int32], n_pieces: int) -> tuple[Integers, Floats]:
    """Return voxels and center of each piece, in indices; the padding does not count."""
    count, center = np.zeros(n_pieces, dtype=np.int64), np.zeros((n_pieces, 3))
    nx, ny, nz = ids.shape
    for x in range(1, nx - 1):
        for y in range(1, ny - 1):
            for z in range(1, nz - 1):
                own = ids[x, y, z]
                count[own] += 1
                center[own, 0] += x
                center[own, 1] += y
                center[own, 2] += z
    for i in range(n_pieces):
        for axis in range(3):
            center[i, axis] /= max(count[i], 1)
    return count, center


def differences(pieces: Pieces, touching: Integers, unmeshed: NDArray[np.bool_]) -> tuple[str, ...]:
    """Say which contacts between pieces another form of the anatomy has lost or gained.

    Args:
        pieces: Of the image.
        touching: Pairs of them in the other form, first < second, shape (d, 2).
        unmeshed: Whether a piece is not meshed; contacts between two such do not count, shape (k,).
    """
    kept = [
        {(a, b) for a, b in pairs.tolist() if not (unmeshed[a] and unmeshed[b])}
        for pairs in (pieces.touching, touching)
    ]
    lost = [_contact(pieces, pair, "in the segmentation, but not in the mesh") for pair in sorted(kept[0] - kept[1])]
    made = [_contact(pieces, pair, "in the mesh, but not in the segmentation") for pair in sorted(kept[1] - kept[0])]
    return (*lost, *made)


def _contact(pieces: Pieces, pair: tuple[int, int], where: str) -> str:
    """Return the sentence on a contact, the smaller piece first."""
    one, two = sorted(pair, key=lambda piece: (piece < 2, pieces.voxels[piece]))
    return f"{pieces.said(one)} and {pieces.said(two)} touch {where}"
