"""Mending a coarse grid of pieces: what a vote lost, tore or joined is put right voxel by voxel.

Flips that make the sum of faults smaller are taken. None takes the last voxel of a piece or tears it apart. The coarse
voxels that hold any voxel of a piece are joined through faces, so that torn pieces can always be bridged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turgor.meshing.compiled import compiled
from turgor.meshing.flips import (
    State,
    among,
    away,
    beside,
    count_faces,
    fault,
    flip,
    may_go,
    position,
    put,
    second_flip,
)
from turgor.meshing.homotopy import near
from turgor.meshing.pieces import CUT, Pieces, labelled
from turgor.meshing.tetrahedra import Floats, Integers

ROUNDS = 20
MOST_SITES = 60
SMALL = 6
"""Pieces of up to so many coarse voxels are moved as a whole."""

ENDED = -0.04
"""By how much faults must shrink when a voxel is taken that tears its piece."""

STRAY = 2
"""Fragments of up to so many voxels go to their neighbors; larger ones are bridged."""


@dataclass(frozen=True)
class Shares:
    """What the voxels of the image put into those of a coarser grid.

    Attributes:
        voxel: Flat index into the padded coarse grid, by share, sorted by piece, the largest first.
        piece: Piece of each share.
        volume: Fine voxels of it.
        start: Where each piece begins, shape (k + 1,).
        inside: Pieces in each coarse voxel, -1 for none, shape (n, slots).
    """

    voxel: Integers
    piece: Integers
    volume: Integers
    start: Integers
    inside: NDArray[np.int32]

    @classmethod
    def of(cls, inside: NDArray[np.int32], counted: NDArray[np.int32], count: int) -> Shares:
        """Sort what is in each voxel by piece.

        Args:
            inside: Pieces in each coarse voxel, -1 for none, shape (n, slots).
            counted: Fine voxels of each, shape (n, slots).
            count: Number of pieces.
        """
        voxel, slot = np.nonzero(inside >= 0)
        piece, volume = inside[voxel, slot].astype(np.int64), counted[voxel, slot].astype(np.int64)
        order = np.lexsort((voxel, -volume, piece))
        start = np.searchsorted(piece[order], np.arange(count + 1))
        return cls(voxel[order], piece[order], volume[order], start, inside)

    def where(self, one: int, two: int, shape: tuple[int, ...]) -> Integers:
        """Return the coarse voxels that hold voxels of two pieces, or hold the one beside the other."""
        a, b = sorted((one, two), key=lambda piece: int(self.start[piece + 1] - self.start[piece]))
        voxels = self.by(a)
        both = voxels[(self.inside[voxels] == b).any(axis=1)]
        if len(both):
            return np.asarray(both)
        steps = np.array([1, -1, shape[2], -shape[2], shape[1] * shape[2], -shape[1] * shape[2]])
        around = np.clip(voxels[:, None] + steps, 0, len(self.inside) - 1)
        return np.asarray(voxels[(self.inside[around] == b).any(axis=(1, 2))])

    def by(self, piece: int) -> Integers:
        """Return the coarse voxels that hold voxels of a piece, the fullest first."""
        return self.voxel[self.start[piece] : self.start[piece + 1]]


def mended(pieces: Pieces, shares: Shares) -> NDArray[np.int32]:
    """Return the pieces by coarse voxel with as few faults as bridges and flips of one or two voxels leave."""
    ids = pieces.ids.copy()
    size = len(pieces.names)
    wanted = np.zeros((size, size), dtype=np.bool_)
    wanted[pieces.touching[:, 0], pieces.touching[:, 1]] = True
    tally = np.zeros((size, size), dtype=np.int32)
    count_faces(ids, tally)
    held = np.bincount(ids[1:-1, 1:-1, 1:-1].ravel(), minlength=size).astype(np.int64)
    state = (ids, tally, wanted | wanted.T, pieces.solid(), held)
    for count in range(ROUNDS):
        changed = _placed(state, shares)
        changed += _separate(state, False) or (count % 2 and _separate(state, True))
        changed += _connected(state, shares)
        changed += _joined(state, shares)
        changed += _moved(state, shares)
        if not changed and count % 2:
            break
    return ids


def _placed(state: State, shares: Shares) -> int:
    """Give each lost piece the voxel where it does least harm; return how many there were."""
    lost = np.flatnonzero(state[3] & (state[4] == 0))
    size = shares.start[lost + 1] - shares.start[lost]
    for piece in lost[np.argsort(size, kind="stable")].tolist():
        part = slice(shares.start[piece], shares.start[piece + 1])
        _place(state, piece, shares.voxel[part][:MOST_SITES], shares.volume[part][:MOST_SITES])
    return len(lost)


def _joined(state: State, shares: Shares) -> int:
    """Bridge fragments to the rest of their piece, or give small ones away; return how many there were."""
    ids, count = state[0], len(state[4])
    found, first = labelled(ids)
    owner = ids.ravel()[first].astype(np.int64)
    body = found.ravel()
    size = np.bincount(body, minlength=len(first))
    own = owner[body[shares.voxel]] == shares.piece
    full = np.bincount(body[shares.voxel[own]], shares.volume[own], len(first))
    main = np.full(count, -1, dtype=np.int64)
    for b in np.lexsort((size, full)).tolist():
        main[owner[b]] = b
    strays = [b for b in range(len(first)) if main[owner[b]] != b and state[3][owner[b]]]
    for b in strays:
        piece = int(owner[b])
        voxels = np.flatnonzero(body == b)
        if size[b] > STRAY or full[b] > 0:
            near_by = np.sort(shares.by(piece))
            path = _bridge(body, state, voxels, int(main[piece]), near_by, True)
            if not len(path):
                path = _bridge(body, state, voxels, int(main[piece]), near_by, False)
            if len(path):
                _walk(state, path, piece)
                continue
        _give(state, voxels)
    return len(strays)


def _moved(state: State, shares: Shares) -> int:
    """Move small pieces with faults to where they have fewer; return how many moved."""
    ids, tally, wanted, solid, held = state
    there = held > 0
    there[CUT] = True
    wrong = (wanted != (tally > 0)) & (solid[:, None] | solid[None, :]) & there[:, None] & there[None, :]
    np.fill_diagonal(wrong, False)
    changed = 0
    for piece in np.flatnonzero(wrong.any(axis=1) & solid & (held <= SMALL)).tolist():
        own = np.flatnonzero(ids.ravel() == piece)
        changed += _move(state, piece, own, shares.by(piece)[:MOST_SITES])
    return changed


def _connected(state: State, shares: Shares) -> int:
    """Let pieces touch that have come apart; return how many pairs do again."""
    ids, tally, wanted, solid, held = state
    changed = 0
    lost = np.argwhere(np.triu(wanted & (tally == 0) & (solid[:, None] | solid[None, :])))
    for a, b in lost.tolist():
        if CUT in (a, b) or tally[a, b] > 0 or (solid[a] and held[a] == 0) or (solid[b] and held[b] == 0):
            continue
        sites = shares.where(a, b, ids.shape)
        sites = sites[:: max(len(sites) // MOST_SITES, 1)]
        changed += _connect(state, a, b, sites)
    return changed


@compiled
def _place(state: State, piece: int, voxels: Integers, volume: Integers) -> None:
    """Put a lost piece into one of some voxels."""
    best, least = -1, np.inf
    for v in range(len(voxels)):
        x, y, z = position(state[0], voxels[v])
        if state[3][state[0][x, y, z]] and state[4][state[0][x, y, z]] < 2:
            continue
        torn = 0.0 if may_go(state, x, y, z) else 1.0
        old = state[0][x, y, z]
        grown = put(state, x, y, z, piece) - volume[v] / volume[0] + torn
        put(state, x, y, z, old)
        if grown < least:
            best, least = v, grown
    if best >= 0:
        x, y, z = position(state[0], voxels[best])
        put(state, x, y, z, piece)


@compiled
def _move(state: State, piece: int, own: Integers, sites: Integers) -> int:
    """Let a piece be one voxel of those near its place, where faults become smallest; return 1 if it moves."""
    ids = state[0]
    best, least = -1, -1e-9
    for trial in range(27 * len(sites)):
        x, y, z = _around(ids, sites, trial)
        if ids[x, y, z] != piece and not may_go(state, x, y, z):
            continue
        old = ids[x, y, z]
        grown = _moved_to(state, piece, own, x, y, z)
        if grown < least and state[4][piece] == 1:
            best, least = trial, grown
        for v in own:
            p, q, r = position(ids, v)
            if ids[p, q, r] != piece:
                put(state, p, q, r, piece)
        if old != piece:
            put(state, x, y, z, old)
    if best < 0:
        return 0
    x, y, z = _around(ids, sites, best)
    _moved_to(state, piece, own, x, y, z)
    return 1


@compiled
def _around(ids: NDArray[np.int32], sites: Integers, trial: int) -> tuple[int, int, int]:
    """Return one of the 27 voxels around one of some sites, inside of the padding."""
    x, y, z = position(ids, sites[trial // 27])
    x, y, z = x + trial % 27 // 9 - 1, y + trial // 3 % 3 - 1, z + trial % 3 - 1
    return (
        min(max(x, 1), ids.shape[0] - 2),
        min(max(y, 1), ids.shape[1] - 2),
        min(max(z, 1), ids.shape[2] - 2),
    )


@compiled
def _moved_to(state: State, piece: int, own: Integers, x: int, y: int, z: int) -> float:
    """Make a piece a single voxel and give away those it had; return by how much the faults grow."""
    ids = state[0]
    grown = put(state, x, y, z, piece) if ids[x, y, z] != piece else 0.0
    for _ in range(2):
        for v in own:
            p, q, r = position(ids, v)
            if ids[p, q, r] == piece and not (p == x and q == y and r == z):
                grown += away(state, p, q, r)
    return grown


@compiled
def _give(state: State, voxels: Integers) -> None:
    """Give the voxels of a fragment to neighbors of other pieces."""
    ids = state[0]
    for _ in range(2):
        for v in voxels:
            x, y, z = position(ids, v)
            old = ids[x, y, z]
            best, least = -1, np.inf
            for i in range(6):
                other = ids[near(x, y, z, i)]
                if other == old or other == CUT:
                    continue
                grown = put(state, x, y, z, other)
                put(state, x, y, z, old)
                if grown < least:
                    best, least = other, grown
            if best >= 0 and state[4][old] > 1:
                put(state, x, y, z, best)


@compiled
def _bridge(
    body: NDArray[np.int32], state: State, voxels: Integers, goal: int, allowed: Integers, gently: bool
) -> Integers:
    """Return the shortest way from a fragment to the main body through voxels that hold the piece; empty if none.

    A gentle way tears no other piece, and may leave those voxels by one.
    """
    ids = state[0]
    piece = ids.ravel()[voxels[0]]
    came = np.full(ids.size, -2, dtype=np.int64)
    queue = np.empty(ids.size, dtype=np.int64)
    head, tail = 0, len(voxels)
    queue[:tail] = voxels
    came[voxels] = -1
    while head < tail:
        v = queue[head]
        head += 1
        x, y, z = position(ids, v)
        if body[v] == goal:
            path, total = np.empty(ids.size, dtype=np.int64), 0
            while v >= 0:
                path[total] = v
                total += 1
                v = came[v]
            return path[:total].copy()
        for i in range(6):
            a, b, c = near(x, y, z, i)
            w = (a * ids.shape[1] + b) * ids.shape[2] + c
            if came[w] != -2:
                continue
            if ids[a, b, c] != piece and gently and not may_go(state, a, b, c):
                continue
            if ids[a, b, c] == piece or among(allowed, w) or (gently and among(allowed, v)):
                came[w] = v
                queue[tail] = w
                tail += 1
    return np.empty(0, dtype=np.int64)


@compiled
def _walk(state: State, path: Integers, piece: int) -> None:
    """Give the voxels of a way to a piece, but for last voxels of others."""
    for v in path:
        x, y, z = position(state[0], v)
        old = state[0][x, y, z]
        if old != piece and old != CUT and (not state[3][old] or state[4][old] > 1):
            put(state, x, y, z, piece)


@compiled
def _separate(state: State, hard: bool) -> int:
    """Flip voxels at contacts that must not be, where that makes faults smaller; return how many.

    A hard flip may tear a piece, which is then put together again.
    """
    ids = state[0]
    flips = 0
    for x in range(1, ids.shape[0] - 1):
        for y in range(1, ids.shape[1] - 1):
            for z in range(1, ids.shape[2] - 1):
                wrong = False
                for i in range(6):
                    other = ids[near(x, y, z, i)]
                    wrong = wrong or fault(state, ids[x, y, z], other) > 0.0
                if wrong and may_go(state, x, y, z):
                    flips += flip(state, x, y, z)
                elif wrong and hard and state[4][ids[x, y, z]] > SMALL:
                    flips += _forced(state, x, y, z)
    return flips


@compiled
def _forced(state: State, x: int, y: int, z: int) -> int:
    """Flip a voxel although its piece is then torn here, where that ends a fault; return 1 if so."""
    if not (0 < x < state[0].shape[0] - 1 and 0 < y < state[0].shape[1] - 1 and 0 < z < state[0].shape[2] - 1):
        return 0
    old = state[0][x, y, z]
    if away(state, x, y, z) <= ENDED:
        return 1
    put(state, x, y, z, old)
    return 0


@compiled
def _connect(state: State, a: int, b: int, sites: Integers) -> int:
    """Let two pieces touch near one of some voxels by one flip, or by two side by side; return 1 if that helps."""
    ids = state[0]
    best, least = np.full(4, -1, dtype=np.int64), np.full(1, -1e-9)
    for v in sites:
        x, y, z = position(ids, v)
        for n in range(125):
            i, j, k = x + n // 25 - 2, y + n // 5 % 5 - 2, z + n % 5 - 2
            if min(i, j, k) < 1 or i > ids.shape[0] - 2 or j > ids.shape[1] - 2 or k > ids.shape[2] - 2:
                continue
            for one, two in ((a, b), (b, a)):
                _try(state, (i, j, k), one, two, best, least)
    for c in (0, 2):
        if best[c] >= 0:
            x, y, z = position(ids, best[c])
            put(state, x, y, z, best[c + 1])
    return 1 if best[0] >= 0 else 0


@compiled
def _try(state: State, where: tuple[int, int, int], one: int, two: int, best: Integers, least: Floats) -> None:
    """Remember a flip to one piece, alone or with one beside it to the other, if it is the best so far."""
    ids = state[0]
    i, j, k = where
    old = ids[i, j, k]
    if old == one or not beside(ids, i, j, k, one) or not may_go(state, i, j, k):
        return
    own = (i * ids.shape[1] + j) * ids.shape[2] + k
    grown = put(state, i, j, k, one)
    if grown < least[0]:
        best[0], best[1], best[2], least[0] = own, one, -1, grown
    if state[1][one, two] == 0:
        w, more = second_flip(state, i, j, k, two)
        if w >= 0 and grown + more < least[0]:
            best[0], best[1], best[2], best[3], least[0] = own, one, w, two, grown + more
    put(state, i, j, k, old)
