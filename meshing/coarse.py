"""Coarser working grids, as long as every piece and every contact of the image has a place on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.compiled import compiled
from turgor.meshing.grids import moved, voted
from turgor.meshing.homotopy import near
from turgor.meshing.labels import RegionGrid
from turgor.meshing.mend import Shares, mended
from turgor.meshing.pieces import Pieces, labelled, measured, padded_with_cut, touching_of
from turgor.meshing.tetrahedra import Floats, Integers

FINER = (1.0, 0.7, 0.5)
"""Steps that are tried, in units of the one wanted."""

MOST_PIECES = 2000
"""More pieces than this are never voted onto a coarser grid."""

SLOTS = 8
"""Pieces that a coarse voxel remembers."""

RESOLVED = 30.0
"""Coarse voxels from which on a piece is sure to overlap with its own voxels."""

INSIDE = 0.4
"""How far the center of a small piece may move, in units of the cube root of its volume."""

MOST_SWOLLEN = 20.0
"""How many times its volume a small piece may have on the coarse grid; surfaces shrink back by about that."""

LARGE = 1_000_000
"""Voxels from which on an image is too large to be meshed as it is for the sake of specks."""

Log = Callable[[str], None]


def coarsened(grid: RegionGrid, step: float, log: Log) -> RegionGrid | None:
    """Vote the regions onto a coarser grid that has all pieces and contacts; None where there is none.

    Args:
        grid: The regions of the image.
        step: Spacing wanted [mm].
        log: Takes a sentence now and then.
    """
    pieces = grid.parts
    why = ""
    for share in FINER if len(pieces.names) <= MOST_PIECES else ():
        if share * step <= 1.2 * float(grid.spacing.max()):
            break
        working = _poured(grid, share * step)
        missing = faults(working.parts) or displaced(grid, working)
        if not missing:
            if why:
                log(f"mesh: the grid is finer than the edges wanted, because on a coarser one {why}")
            return working
        why = why or missing[0]
    log(f"mesh: the voxels of the image are kept, because {f'on coarser ones {why}' if why else 'pieces are many'}")
    return None


def faults(pieces: Pieces) -> tuple[str, ...]:
    """Say which pieces and contacts of the image a grid has lost or gained."""
    solid = pieces.solid()
    count = len(pieces.names)
    held = np.bincount(pieces.ids.ravel(), minlength=count)
    lost = [f"{pieces.said(i)} is lost" for i in np.flatnonzero(solid & (held == 0)).tolist()]
    first = labelled(pieces.ids)[1]
    bodies = np.bincount(pieces.ids.ravel()[first], minlength=count)
    split = [f"{pieces.said(i)} falls apart" for i in np.flatnonzero(solid & (bodies > 1)).tolist()]
    wanted, found = (
        {(a, b) for a, b in pairs.tolist() if solid[a] or solid[b]}
        for pairs in (pieces.touching, touching_of(pieces.ids, count))
    )
    apart = [f"{pieces.said(b)} and {pieces.said(a)} come apart" for a, b in sorted(wanted - found)]
    meet = [f"{pieces.said(b)} and {pieces.said(a)} meet" for a, b in sorted(found - wanted)]
    return (*lost, *split, *apart, *meet)


def displaced(grid: RegionGrid, working: RegionGrid) -> tuple[str, ...]:
    """Say which small pieces are not where they were, so that they would not overlap with their voxels.

    In a large image only pieces of protected regions must; the others may be off by a coarse voxel.
    """
    pieces = grid.parts
    count, center = measured(working.parts.ids, len(pieces.names))
    away = (center - 1.0) @ working.affine[:3, :3].T + working.affine[:3, 3] - pieces.places
    voxel = float(np.prod(working.spacing))
    small = pieces.solid() & (pieces.volumes < RESOLVED * voxel)
    if grid.values.size > LARGE:
        small &= np.isin(np.array(pieces.names), grid.protected)
    reach = INSIDE * np.cbrt(pieces.volumes)
    off = (np.linalg.norm(away, axis=1) > reach) | (count * voxel > MOST_SWOLLEN * pieces.volumes)
    return tuple(f"{pieces.said(i)} has no place" for i in np.flatnonzero(small & off).tolist())


def _poured(grid: RegionGrid, step: float) -> RegionGrid:
    """Vote the regions onto an isotropic grid, keeping volumes, and mend what that does to pieces and contacts.

    Each voxel counts for the coarse voxels around it, the near ones more; a coarse voxel goes to the name with the
    largest sum plus a weight, and the weights are fitted to the volumes.

    Args:
        grid: The regions.
        step: Spacing wanted [mm]; each axis gets the next spacing that divides the box.
    """
    pieces = grid.parts
    shape = np.array(grid.values.shape)
    pad = np.where(grid.cut, 0, np.ceil(2.0 * step / grid.spacing).astype(int)[:, None])
    low, extent = -pad[:, 0] - 0.5, shape + pad.sum(axis=1)
    count = np.maximum(np.round(extent * grid.spacing / step), 1).astype(int)
    ratio = extent / count
    at = [(np.arange(n) - low[i]) / ratio[i] - 0.5 for i, n in enumerate(grid.values.shape)]
    sums = np.zeros((len(grid.names) + 1, *count.tolist()), dtype=np.float32)
    _pour(grid.values, (at[0], at[1], at[2]), sums)
    sums[0][sums.sum(axis=0) == 0.0] = 1.0
    sums *= np.float32(step) / sums.sum(axis=0)
    wanted = np.bincount(grid.values.ravel(), minlength=len(sums)) * np.prod(ratio) ** -1.0
    wanted[0] += float(np.prod(count)) - wanted.sum()
    values = voted(list(sums), wanted, step)[0]
    slots = np.full((*(count + 2).tolist(), SLOTS, 2), -1, dtype=np.int32)
    cells = [np.clip(np.rint(a), 0, n - 1).astype(np.int64) + 1 for a, n in zip(at, count, strict=True)]
    _collect(pieces.ids, (cells[0], cells[1], cells[2]), slots)
    flat = slots.reshape(-1, SLOTS, 2)
    start = pieces.on(_assigned(grid, values, pieces, slots))
    found = pieces.on(mended(start, Shares.of(flat[:, :, 0], flat[:, :, 1], len(pieces.names))))
    edge = float(np.prod(ratio * grid.spacing) ** (1.0 / 3.0))
    note = f"the image was resampled to voxels of {edge:.3g} mm, keeping every piece and contact"
    return replace(
        grid,
        values=pieces.rows(grid.names)[found.ids[1:-1, 1:-1, 1:-1]].astype(np.int16),
        affine=moved(grid.affine, low + 0.5 * ratio, ratio),
        pieces=found,
        repairs=(*grid.repairs, note),
    )


@compiled
def _pour(values: NDArray[np.int16], at: tuple[Floats, Floats, Floats], sums: NDArray[np.float32]) -> None:
    """Add each voxel to the eight coarse voxels around it, linearly less with distance along each axis."""
    nx, ny, nz = sums.shape[1], sums.shape[2], sums.shape[3]
    for x in range(values.shape[0]):
        i = int(np.floor(at[0][x]))
        u = at[0][x] - i
        for y in range(values.shape[1]):
            j = int(np.floor(at[1][y]))
            v = at[1][y] - j
            for z in range(values.shape[2]):
                k = int(np.floor(at[2][z]))
                w = at[2][z] - k
                own = values[x, y, z]
                for n in range(8):
                    a, b, c = n // 4, n // 2 % 2, n % 2
                    weight = (u if a else 1.0 - u) * (v if b else 1.0 - v) * (w if c else 1.0 - w)
                    p, q, r = min(max(i + a, 0), nx - 1), min(max(j + b, 0), ny - 1), min(max(k + c, 0), nz - 1)
                    sums[own, p, q, r] += weight


@compiled
def _collect(ids: NDArray[np.int32], cells: tuple[Integers, Integers, Integers], slots: NDArray[np.int32]) -> None:
    """Count the voxels of each piece in each coarse voxel, in as many slots as there are."""
    for x in range(1, ids.shape[0] - 1):
        for y in range(1, ids.shape[1] - 1):
            for z in range(1, ids.shape[2] - 1):
                own = ids[x, y, z]
                cell = slots[cells[0][x - 1], cells[1][y - 1], cells[2][z - 1]]
                for s in range(SLOTS):
                    if cell[s, 0] == -1:
                        cell[s, 0], cell[s, 1] = own, 0
                    if cell[s, 0] == own:
                        cell[s, 1] += 1
                        break


def _assigned(
    grid: RegionGrid, values: NDArray[np.int16], pieces: Pieces, slots: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Give each coarse voxel the piece of its name that has most of it, or that a neighbor has."""
    row = pieces.rows(grid.names)
    ids = padded_with_cut(values, grid.cut).astype(np.int32)
    ids = np.where(ids < 0, 1, 0).astype(np.int32)
    inner = ids[1:-1, 1:-1, 1:-1]
    inner[:] = -1
    own = slots[1:-1, 1:-1, 1:-1]
    most = np.zeros(values.shape, dtype=np.int32)
    for s in range(SLOTS):
        fits = (own[..., s, 0] >= 0) & (row[own[..., s, 0]] == values) & (own[..., s, 1] > most)
        inner[fits], most[fits] = own[..., s, 0][fits], own[..., s, 1][fits]
    inner[(inner < 0) & (values == 0)] = 0
    _spread(ids, values)
    return ids


@compiled
def _spread(ids: NDArray[np.int32], values: NDArray[np.int16]) -> None:
    """Fill voxels that are still open from neighbors of the same name, else from any neighbor."""
    nx, ny, nz = values.shape
    for alike in (True, False):
        changed = True
        while changed:
            changed = False
            for x in range(1, nx + 1):
                for y in range(1, ny + 1):
                    for z in range(1, nz + 1):
                        if ids[x, y, z] < 0:
                            changed = _fill(ids, values, x, y, z, alike) or changed


@compiled
def _fill(ids: NDArray[np.int32], values: NDArray[np.int16], x: int, y: int, z: int, alike: bool) -> bool:
    """Fill a voxel from one of its neighbors; say whether one could."""
    nx, ny, nz = values.shape
    for i in range(6):
        a, b, c = near(x, y, z, i)
        if min(a, b, c) < 1 or a > nx or b > ny or c > nz or ids[a, b, c] < 0:
            continue
        if not alike or values[a - 1, b - 1, c - 1] == values[x - 1, y - 1, z - 1]:
            ids[x, y, z] = ids[a, b, c]
            return True
    return False
