"""Moving the surfaces between pieces voxel by voxel, so that no piece and no contact appears or disappears.

A voxel goes from piece a to a piece b beside it only if it is a simple point of a without it and of b with it (one
6-connected set of the object in the 18 neighbors, one 26-connected set of the rest in the 26), and if every pair of
pieces that shares a face still does and no other pair comes to.

Source: Bertrand and Malandain (1994) for simple points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.compiled import compiled
from turgor.meshing.pieces import CUT, Pieces
from turgor.meshing.tetrahedra import Floats, Integers

SWEEPS = 60
SLACK = 0.004
"""How far the number of voxels of a piece may go from that of the image; one voxel at least."""

SEARCH = 2000
"""Voxels that a search for another way between two may come to."""

ANISOTROPY = 1.5


def factors(spacing: Floats, most: float) -> Integers:
    """Return into how many voxels each axis is cut, so that they are nearly cubes and at most `most` times as many."""
    largest = np.maximum(np.ceil(spacing / spacing.min() - 0.25), 1).astype(int)
    best, found = (np.inf, np.inf), np.ones(3, dtype=np.int64)
    for index in np.ndindex(*largest.tolist()):
        trial = np.array(index) + 1
        if trial.prod() > most:
            continue
        edges = spacing / trial
        score = (max(float(edges.max() / edges.min()), 1.3), float(trial.prod()))
        if score < best:
            best, found = score, trial.astype(np.int64)
    return found


def subdivided(ids: NDArray[np.int32], by: Integers) -> NDArray[np.int32]:
    """Return padded pieces on voxels cut into equal ones."""
    inner = ids[1:-1, 1:-1, 1:-1]
    fine = np.zeros(tuple(np.array(inner.shape) * by + 2), dtype=np.int32)
    for axis, factor in enumerate(by.tolist()):
        inner = np.repeat(inner, factor, axis=axis)
    fine[1:-1, 1:-1, 1:-1] = inner
    for axis in range(3):
        for face in (0, -1):
            where: list[slice | int] = [slice(1, -1)] * 3
            where[axis] = face
            layer = np.moveaxis(ids, axis, 0)[face]
            fine[tuple(where)] = layer[layer.shape[0] // 2, layer.shape[1] // 2]
    return fine


def relaxed(
    pieces: Pieces, levels: NDArray[np.float32], row: Integers, voxel: float, give: float = SLACK, loosely: bool = False
) -> NDArray[np.int32]:
    """Move each voxel towards the piece beside it whose level is highest, without changing pieces or contacts.

    Args:
        pieces: On the grid to be changed.
        levels: How much each name wants a voxel, shape (names, nx, ny, nz).
        row: Row of `levels` of each piece, shape (k,).
        voxel: Volume of a voxel [mm^3].
        give: How far the number of voxels of a piece may go from that of the image; one voxel at least.
        loosely: Let tunnels come and go; only pieces and contacts count.

    Returns:
        The pieces by voxel, padded as before.
    """
    ids = pieces.ids.copy()
    count = len(pieces.names)
    keys = _keys(ids, count)
    solid = pieces.solid()
    held = np.bincount(ids[1:-1, 1:-1, 1:-1].ravel(), minlength=count)
    slack = np.maximum(give * held, 1.0)
    slack[0] = np.inf
    wanted = np.where(solid, pieces.volumes / voxel, held)
    limits = np.stack([np.minimum(wanted - slack, held), np.maximum(wanted + slack, held)], axis=1)
    names, tally = np.unique(keys, return_counts=True)
    reached = np.zeros(ids.size if loosely else 0, dtype=np.int32)
    _relax(ids, levels, row, (names, tally.astype(np.int64)), held.astype(np.int64), limits, ~solid, reached)
    return ids


@compiled
def _keys(ids: NDArray[np.int32], n_pieces: int) -> Integers:
    """Return the key first * n + second of every face between unlike voxels."""
    nx, ny, nz = ids.shape
    total = 0
    keys = np.empty(1024, dtype=np.int64)
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                own = ids[x, y, z]
                for axis in range(3):
                    i, j, k = x + (axis == 0), y + (axis == 1), z + (axis == 2)
                    if i == nx or j == ny or k == nz or ids[i, j, k] == own:
                        continue
                    if total == len(keys):
                        keys = np.concatenate((keys, np.empty(len(keys), dtype=np.int64)))
                    other = ids[i, j, k]
                    keys[total] = min(own, other) * np.int64(n_pieces) + max(own, other)
                    total += 1
    return keys[:total]


@compiled
def near(x: int, y: int, z: int, i: int) -> tuple[int, int, int]:
    """Return the i-th of the six face neighbors of a voxel."""
    step = 1 if i % 2 else -1
    return x + step * (i // 2 == 0), y + step * (i // 2 == 1), z + step * (i // 2 == 2)


@compiled
def simple(ids: NDArray[np.int32], x: int, y: int, z: int, piece: int) -> bool:
    """Say whether adding a voxel to a piece, or taking it away, changes no component, tunnel or void of the piece."""
    mark = neighborhood(ids, x, y, z, piece)
    stack = np.empty(27, dtype=np.int64)
    return one_object(mark, stack) and one_rest(mark, stack)


@compiled
def neighborhood(ids: NDArray[np.int32], x: int, y: int, z: int, piece: int) -> NDArray[np.int8]:
    """Return 1 for each of the 26 neighbors that is of a piece, 0 for the rest, 2 in the middle, shape (27,)."""
    mark = np.empty(27, dtype=np.int8)
    for n in range(27):
        mark[n] = ids[x + n // 9 - 1, y + n // 3 % 3 - 1, z + n % 3 - 1] == piece
    mark[13] = 2
    return mark


@compiled
def one_object(mark: NDArray[np.int8], stack: Integers) -> bool:
    """Say whether the object among the 18 neighbors has one 6-connected set that touches the center."""
    top, seen, beside = 0, 0, 0
    done = np.zeros(27, dtype=np.int8)
    for n in (4, 10, 12, 14, 16, 22):
        if mark[n] == 1:
            beside += 1
            if top == 0:
                stack[0], top = n, 1
                done[n] = 1
    if beside == 0:
        return False
    while top > 0:
        top -= 1
        n = stack[top]
        a, b, c = n // 9, n // 3 % 3, n % 3
        seen += abs(a - 1) + abs(b - 1) + abs(c - 1) == 1
        for i in range(6):
            p, q, r = near(a, b, c, i)
            if min(p, q, r) < 0 or max(p, q, r) > 2:
                continue
            m = 9 * p + 3 * q + r
            if mark[m] == 1 and done[m] == 0 and abs(p - 1) + abs(q - 1) + abs(r - 1) < 3:
                done[m] = 1
                stack[top] = m
                top += 1
    return seen == beside


@compiled
def one_rest(mark: NDArray[np.int8], stack: Integers) -> bool:
    """Say whether the rest of the 26 neighbors is one 26-connected set."""
    top, seen, total = 0, 0, 0
    done = np.zeros(27, dtype=np.int8)
    for n in range(27):
        if mark[n] == 0:
            total += 1
            if top == 0:
                stack[0], top = n, 1
                done[n] = 1
    while top > 0:
        top -= 1
        n = stack[top]
        seen += 1
        a, b, c = n // 9, n // 3 % 3, n % 3
        for p in range(max(a - 1, 0), min(a + 2, 3)):
            for q in range(max(b - 1, 0), min(b + 2, 3)):
                for r in range(max(c - 1, 0), min(c + 2, 3)):
                    m = 9 * p + 3 * q + r
                    if mark[m] == 0 and done[m] == 0:
                        done[m] = 1
                        stack[top] = m
                        top += 1
    return total > 0 and seen == total


@compiled
def hangs_together(ids: NDArray[np.int32], x: int, y: int, z: int, reached: NDArray[np.int32]) -> bool:
    """Say whether a piece surely stays in one without a voxel: its neighbors reach each other on short ways.

    Args:
        ids: Pieces by voxel.
        x: First index.
        y: Second index.
        z: Third index.
        reached: Number of the last search that came to each voxel, the number of searches at 0, shape (ids.size,).
    """
    piece = ids[x, y, z]
    if one_object(neighborhood(ids, x, y, z, piece), np.empty(27, dtype=np.int64)):
        return True
    reached[0] += 1
    own, ny, nz = reached[0], ids.shape[1], ids.shape[2]
    reached[(x * ny + y) * nz + z] = own
    queue = np.empty(SEARCH + 6, dtype=np.int64)
    goals, head, tail = 0, 0, 0
    for i in range(6):
        a, b, c = near(x, y, z, i)
        if ids[a, b, c] == piece:
            goals += 1
            if tail == 0:
                queue[0], tail = (a * ny + b) * nz + c, 1
                reached[queue[0]] = own
    while head < tail and tail < SEARCH and goals > 0:
        v = queue[head]
        head += 1
        p, q, r = v // (ny * nz), v // nz % ny, v % nz
        goals -= abs(p - x) + abs(q - y) + abs(r - z) == 1
        for i in range(6):
            a, b, c = near(p, q, r, i)
            w = (a * ny + b) * nz + c
            if ids[a, b, c] == piece and reached[w] != own:
                reached[w] = own
                queue[tail] = w
                tail += 1
    return goals == 0


@compiled
def place_of(keys: Integers, key: int) -> int:
    """Return the position of a key, -1 where there is none."""
    at = np.searchsorted(keys, key)
    return int(at) if at < len(keys) and keys[at] == key else -1


@compiled
def _kept(
    ids: NDArray[np.int32],
    x: int,
    y: int,
    z: int,
    new: int,
    known: tuple[Integers, Integers],
    empty: NDArray[np.bool_],
) -> bool:
    """Count the faces between pieces anew for a flip; undo it and say no when a contact comes or goes."""
    keys, tally = known
    old = ids[x, y, z]
    n = np.int64(len(empty))
    changed = np.empty(12, dtype=np.int64)
    total, good = 0, True
    for side in range(2):
        own = new if side == 0 else old
        for i in range(6):
            other = ids[near(x, y, z, i)]
            if other == own or (empty[own] and other == CUT):
                continue
            at = place_of(keys, min(own, other) * n + max(own, other))
            if at < 0:
                good = False
                break
            tally[at] += 1 - 2 * side
            changed[total] = at if side == 0 else -at - 1
            total += 1
        if not good:
            break
    for c in range(total):
        good = good and tally[changed[c] if changed[c] >= 0 else -changed[c] - 1] > 0
    if not good:
        for c in range(total):
            if changed[c] >= 0:
                tally[changed[c]] -= 1
            else:
                tally[-changed[c] - 1] += 1
    return good


@compiled
def _gains(ids: NDArray[np.int32], levels: NDArray[np.float32], row: Integers, at: Integers) -> NDArray[np.float32]:
    """Return how much each voxel would win by its best flip; 0 where none wins."""
    gains = np.zeros(len(at), dtype=np.float32)
    ny, nz = ids.shape[1], ids.shape[2]
    for v in range(len(at)):
        x, y, z = at[v] // (ny * nz), at[v] // nz % ny, at[v] % nz
        own = levels[row[ids[x, y, z]], x - 1, y - 1, z - 1]
        for i in range(6):
            other = ids[near(x, y, z, i)]
            if other != CUT:
                gains[v] = max(gains[v], levels[row[other], x - 1, y - 1, z - 1] - own)
    return gains


@compiled
def _may_move(ids: NDArray[np.int32], x: int, y: int, z: int, new: int, reached: NDArray[np.int32]) -> bool:
    """Say whether a flip keeps the topology of both pieces, or, with room for searches, their being in one."""
    if len(reached):
        return hangs_together(ids, x, y, z, reached)
    return simple(ids, x, y, z, ids[x, y, z]) and simple(ids, x, y, z, new)


@compiled
def _flipped(
    ids: NDArray[np.int32],
    levels: NDArray[np.float32],
    row: Integers,
    known: tuple[Integers, Integers],
    held: Integers,
    limits: Floats,
    empty: NDArray[np.bool_],
    reached: NDArray[np.int32],
    where: tuple[int, int, int],
) -> bool:
    """Flip a voxel to the piece beside it that wants it most, if one may have it."""
    x, y, z = where
    old = ids[x, y, z]
    if held[old] - 1 < limits[old, 0]:
        return False
    tried = np.full(6, -1, dtype=np.int64)
    own = levels[row[old], x - 1, y - 1, z - 1]
    for turn in range(6):
        best, win = -1, np.float32(0.0)
        for i in range(6):
            other = ids[near(x, y, z, i)]
            if other == old or other == CUT or (tried[:turn] == other).any():
                continue
            gain = levels[row[other], x - 1, y - 1, z - 1] - own
            if gain > win:
                best, win = other, gain
        if best < 0:
            return False
        tried[turn] = best
        if held[best] + 1 > limits[best, 1]:
            continue
        if not _may_move(ids, x, y, z, best, reached):
            continue
        if _kept(ids, x, y, z, best, known, empty):
            ids[x, y, z] = best
            held[old] -= 1
            held[best] += 1
            return True
    return False


@compiled
def _start(ids: NDArray[np.int32]) -> Integers:
    """Return the inner voxels that have an unlike face neighbor."""
    nx, ny, nz = ids.shape
    found = np.empty(1024, dtype=np.int64)
    total = 0
    for x in range(1, nx - 1):
        for y in range(1, ny - 1):
            for z in range(1, nz - 1):
                own = ids[x, y, z]
                for i in range(6):
                    if ids[near(x, y, z, i)] != own:
                        if total == len(found):
                            found = np.concatenate((found, np.empty(len(found), dtype=np.int64)))
                        found[total] = (x * ny + y) * nz + z
                        total += 1
                        break
    return found[:total]


@compiled
def _relax(
    ids: NDArray[np.int32],
    levels: NDArray[np.float32],
    row: Integers,
    known: tuple[Integers, Integers],
    held: Integers,
    limits: Floats,
    empty: NDArray[np.bool_],
    reached: NDArray[np.int32],
) -> None:
    """Flip voxels, the most wanted first, until no flip is wanted and allowed."""
    ny, nz = ids.shape[1], ids.shape[2]
    at = _start(ids)
    mark = np.zeros(ids.size, dtype=np.bool_)
    for _ in range(SWEEPS):
        gains = _gains(ids, levels, row, at)
        at, gains = at[gains > 0], gains[gains > 0]
        order = np.argsort(-gains, kind="mergesort")
        flips = 0
        for v in at[order]:
            where = (v // (ny * nz), v // nz % ny, v % nz)
            if _flipped(ids, levels, row, known, held, limits, empty, reached, where):
                flips += 1
                mark[v] = True
                for i in range(6):
                    x, y, z = near(where[0], where[1], where[2], i)
                    if 0 < x < ids.shape[0] - 1 and 0 < y < ny - 1 and 0 < z < nz - 1:
                        mark[(x * ny + y) * nz + z] = True
            else:
                mark[v] = True
        if flips == 0:
            break
        at = np.flatnonzero(mark)
        for v in at:
            mark[v] = False
