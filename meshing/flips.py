"""Flips of single voxels from piece to piece, and by how much they make contacts right or wrong.

A contact that is lost counts 1, one that is gained 1 and a little for each of its faces.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.compiled import compiled
from turgor.meshing.homotopy import near, neighborhood, one_object
from turgor.meshing.pieces import CUT
from turgor.meshing.tetrahedra import Integers

PER_FACE = 0.05
"""What each face of a contact that must not be adds to its fault."""

State = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_], Integers]
"""Pieces by voxel, faces by pair, pairs wanted, whether a piece is solid, voxels of each."""


@compiled
def count_faces(ids: NDArray[np.int32], tally: NDArray[np.int32]) -> None:
    """Count the faces between each pair of pieces."""
    nx, ny, nz = ids.shape
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                own = ids[x, y, z]
                for axis in range(3):
                    i, j, k = x + (axis == 0), y + (axis == 1), z + (axis == 2)
                    if i < nx and j < ny and k < nz and ids[i, j, k] != own:
                        tally[own, ids[i, j, k]] += 1
                        tally[ids[i, j, k], own] += 1


@compiled
def fault(state: State, a: int, b: int) -> float:
    """Return how wrong the contact of two pieces is."""
    faces = state[1][a, b]
    if a == b or not (state[3][a] or state[3][b]):
        return 0.0
    if state[2][a, b]:
        return 1.0 if faces == 0 else 0.0
    return 0.0 if faces == 0 else 1.0 + PER_FACE * faces


@compiled
def _faults_around(state: State, seen: Integers, old: int, new: int) -> float:
    """Return the faults of the pairs that a flip can change."""
    total = 0.0
    has_old, has_new = False, False
    for other in seen:
        if other < 0:
            continue
        has_old, has_new = has_old or other == old, has_new or other == new
        total += fault(state, old, other)
        if other != old:
            total += fault(state, new, other)
    return total + (fault(state, old, new) if has_old and not has_new else 0.0)


@compiled
def put(state: State, x: int, y: int, z: int, new: int) -> float:
    """Flip a voxel and return by how much the faults grow."""
    ids, tally = state[0], state[1]
    old = ids[x, y, z]
    seen = np.full(6, -1, dtype=np.int64)
    for i in range(6):
        other = ids[near(x, y, z, i)]
        if not (seen[:i] == other).any():
            seen[i] = other
    before = _faults_around(state, seen, old, new)
    for i in range(6):
        other = ids[near(x, y, z, i)]
        if other != old:
            tally[old, other] -= 1
            tally[other, old] -= 1
        if other != new:
            tally[new, other] += 1
            tally[other, new] += 1
    ids[x, y, z] = new
    state[4][old] -= 1
    state[4][new] += 1
    return _faults_around(state, seen, old, new) - before


@compiled
def may_go(state: State, x: int, y: int, z: int) -> bool:
    """Say whether a voxel can leave its piece without ending it or tearing it apart."""
    ids, held = state[0], state[4]
    if not (0 < x < ids.shape[0] - 1 and 0 < y < ids.shape[1] - 1 and 0 < z < ids.shape[2] - 1):
        return False
    old = ids[x, y, z]
    if not state[3][old]:
        return bool(old != CUT)
    return bool(held[old] > 1 and (not beside(ids, x, y, z, old) or _whole(ids, x, y, z, old)))


@compiled
def _whole(ids: NDArray[np.int32], x: int, y: int, z: int, piece: int) -> bool:
    """Say whether the neighbors of one piece hang together without the voxel between them."""
    return one_object(neighborhood(ids, x, y, z, piece), np.empty(27, dtype=np.int64))


@compiled
def beside(ids: NDArray[np.int32], x: int, y: int, z: int, piece: int) -> bool:
    """Say whether a face neighbor is of a piece."""
    for i in range(6):
        if ids[near(x, y, z, i)] == piece:
            return True
    return False


@compiled
def position(ids: NDArray[np.int32], voxel: int) -> tuple[int, int, int]:
    """Return the index of a flat one."""
    ny, nz = ids.shape[1], ids.shape[2]
    return voxel // (ny * nz), voxel // nz % ny, voxel % nz


@compiled
def among(sorted_values: Integers, value: int) -> bool:
    """Say whether a value is in an ascending list."""
    k = np.searchsorted(sorted_values, value)
    return bool(k < len(sorted_values) and sorted_values[k] == value)


@compiled
def away(state: State, x: int, y: int, z: int) -> float:
    """Give a voxel to the neighbor's piece that makes faults smallest; return by how much they grow."""
    ids = state[0]
    old = ids[x, y, z]
    best, least = old, np.inf
    for i in range(6):
        other = ids[near(x, y, z, i)]
        if other == old or other == CUT:
            continue
        grown = put(state, x, y, z, other)
        put(state, x, y, z, old)
        if grown < least:
            best, least = other, grown
    return put(state, x, y, z, best) if best != old else 0.0


@compiled
def flip(state: State, x: int, y: int, z: int) -> int:
    """Flip a voxel to the neighbor's piece that makes faults smallest, if need be with a neighbor; return 1 if so."""
    ids = state[0]
    old = ids[x, y, z]
    best, least, beside, then = -1, -1e-9, 0, 0
    for deep in range(2):
        for i in range(6):
            other = ids[near(x, y, z, i)]
            if other == old or other == CUT:
                continue
            grown = put(state, x, y, z, other)
            if deep == 1:
                w, piece, more = _any(state, x, y, z)
                if w >= 0 and grown + more < least:
                    best, least, beside, then = other, grown + more, w, piece
            elif grown < least:
                best, least = other, grown
            put(state, x, y, z, old)
        if best >= 0:
            put(state, x, y, z, best)
            if deep == 1:
                p, q, r = position(ids, beside)
                put(state, p, q, r, then)
            return 1
    return 0


@compiled
def _any(state: State, x: int, y: int, z: int) -> tuple[int, int, float]:
    """Return the voxel around another that best goes to a piece beside it, which, and by how much the faults grow."""
    ids = state[0]
    best, piece, least = -1, 0, np.inf
    for n in range(27):
        a, b, c = x + n // 9 - 1, y + n // 3 % 3 - 1, z + n % 3 - 1
        if n == 13 or not may_go(state, a, b, c):
            continue
        old = ids[a, b, c]
        for i in range(6):
            other = ids[near(a, b, c, i)]
            if other == old or other == CUT:
                continue
            grown = put(state, a, b, c, other)
            put(state, a, b, c, old)
            if grown < least:
                best, piece, least = (a * ids.shape[1] + b) * ids.shape[2] + c, other, grown
    return best, piece, least


@compiled
def second_flip(state: State, x: int, y: int, z: int, piece: int) -> tuple[int, float]:
    """Return the neighbor that best goes to a piece beside it, and by how much the faults grow."""
    ids = state[0]
    best, least = -1, np.inf
    for i in range(6):
        a, b, c = near(x, y, z, i)
        old = ids[a, b, c]
        if old == piece or old == ids[x, y, z] or not beside(ids, a, b, c, piece) or not may_go(state, a, b, c):
            continue
        grown = put(state, a, b, c, piece)
        put(state, a, b, c, old)
        if grown < least:
            best, least = (a * ids.shape[1] + b) * ids.shape[2] + c, grown
    return best, least
