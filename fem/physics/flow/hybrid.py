"""The matrix of the facet pressures, its coarse companion and the right-hand side, cell by cell in closed form.

With gᵢ the gradients of the barycentric coordinates, dᵢ = xᵢ - x_T and |T| the volume, the block of a cell is

    |T| (9 gᵢ·K gⱼ + a ψ 9/20 (δᵢⱼ - 1/4) + b/16),        b = a/(1 + a θ),

see `equations`: -3 gᵢ is the gradient of the unknown's function, 1/4 its value at x_T, and (gᵢ·dₖ) = δᵢₖ - 1/4. A
continuous piecewise linear function has the mean of its three corners on a facet, so that the block of the coarse
space is Rᵀ A R with Rᵢⱼ = (1 - δᵢⱼ)/3, rows and columns of prescribed facets left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from turgor.fem.stencil import Slots
from turgor.meshing.compiled import compiled

Array = NDArray[np.float64]
Ints = NDArray[np.int32]
Flags = NDArray[np.bool_]


class Cells(NamedTuple):
    """What the equation has in each local cell, ghosts included.

    Attributes:
        points: Vertices [mm], shape (n, 4, 3).
        conductivity: K [mm²/(Pa s)], shape (n,).
        tensor: K, too, where it has a direction, shape (n, 3, 3); (0, 3, 3) when it has none anywhere.
        sink: b [1/(Pa s)].
        layer: a ψ [1/(Pa s)].
        source: f/(1 + a θ) [1/s].
    """

    points: Array
    conductivity: Array
    tensor: Array
    sink: Array
    layer: Array
    source: Array


class Facets(NamedTuple):
    """What is given on the facets, ghosts included.

    Attributes:
        fixed: Whose pressure is prescribed.
        given: That pressure [Pa]; anything elsewhere.
        exchange: Area times coefficient [mm³/(Pa s)], on outer facets.
    """

    fixed: Flags
    given: Array
    exchange: Array


class Sums(NamedTuple):
    """The matrix, as its diagonal and what each cell adds beyond, and the right-hand side.

    Attributes:
        beyond: For the facets 01, 02, 03, 12, 13 and 23 of each local cell, shape (n, 6).
        diagonal: On the facets, ghosts included; right on owned ones.
        right: The same for the right-hand side.
    """

    beyond: Array
    diagonal: Array
    right: Array


@compiled
def cofactors(points: Array, found: Array) -> float:
    """Write the barycentric gradients of a cell times six times its volume; return that, positive or negative.

    Args:
        points: Vertices, shape (4, 3).
        found: Shape (4, 3).
    """
    for i in range(1, 4):
        j, k = i % 3 + 1, (i + 1) % 3 + 1
        for x in range(3):
            y, z = (x + 1) % 3, (x + 2) % 3
            one, two = points[j, y] - points[0, y], points[k, z] - points[0, z]
            three, four = points[j, z] - points[0, z], points[k, y] - points[0, y]
            found[i, x] = one * two - three * four
    size = 0.0
    for x in range(3):
        found[0, x] = -found[1, x] - found[2, x] - found[3, x]
        size += found[1, x] * (points[1, x] - points[0, x])
    return size


@compiled
def _block(cells: Cells, cell: int, gradients: Array, block: Array) -> float:
    """Write the block of a cell, shape (4, 4); return its volume."""
    size = abs(cofactors(cells.points[cell], gradients))
    conduct = 1.5 / size * (1.0 if len(cells.tensor) else cells.conductivity[cell])
    volume = size / 6
    point, spread = volume * cells.sink[cell] / 16, volume * cells.layer[cell] * 0.45
    for i in range(4):
        a, b, c = gradients[i, 0], gradients[i, 1], gradients[i, 2]
        if len(cells.tensor):
            k = cells.tensor[cell]
            a, b, c = (
                k[0, 0] * a + k[0, 1] * b + k[0, 2] * c,
                k[1, 0] * a + k[1, 1] * b + k[1, 2] * c,
                k[2, 0] * a + k[2, 1] * b + k[2, 2] * c,
            )
        for j in range(i, 4):
            along = a * gradients[j, 0] + b * gradients[j, 1] + c * gradients[j, 2]
            block[i, j] = conduct * along + point - 0.25 * spread
            block[j, i] = block[i, j]
        block[i, i] += spread
    return volume


@compiled
def assemble(cells: Cells, facets: Facets, rows: Ints, sums: Sums) -> None:
    """Sum the matrix and the right-hand side; prescribed rows and columns as in the identity.

    Args:
        cells: What the equation has in the cells.
        facets: What is given on the facets.
        rows: Facets of each cell, shape (n_cells, 4).
        sums: Where they go; the right-hand side is at first what facets add to it.
    """
    gradients, block = np.empty((4, 3)), np.empty((4, 4))
    sums.diagonal[:] = 0.0
    for cell in range(len(rows)):
        volume = _block(cells, cell, gradients, block)
        source, at = 0.25 * volume * cells.source[cell], 0
        for i in range(4):
            row = rows[cell, i]
            if facets.fixed[row]:
                sums.right[row], sums.diagonal[row] = facets.given[row], 1.0
            else:
                sums.diagonal[row] += block[i, i] + facets.exchange[row]
                sums.right[row] += source
            for j in range(i + 1, 4):
                column = rows[cell, j]
                sums.beyond[cell, at] = 0.0
                if facets.fixed[row] and not facets.fixed[column]:
                    sums.right[column] -= block[i, j] * facets.given[row]
                elif facets.fixed[column] and not facets.fixed[row]:
                    sums.right[row] -= block[i, j] * facets.given[column]
                elif not facets.fixed[row]:
                    sums.beyond[cell, at] = block[i, j]
                at += 1


@compiled
def assemble_coarse(cells: Cells, facets: Facets, rows: Ints, coarse: Slots, values: Array) -> None:
    """Sum the matrix on the continuous piecewise linear functions over the cells that `coarse` has."""
    values[:] = 0.0
    gradients, block, sums = np.empty((4, 3)), np.empty((4, 4)), np.empty(4)
    for cell in range(len(coarse.rows)):
        _block(cells, cell, gradients, block)
        whole = 0.0
        for i in range(4):
            row = rows[cell, i]
            block[i, i] += facets.exchange[row]
            if facets.fixed[row]:
                block[i, :] = 0.0
                block[:, i] = 0.0
        for i in range(4):
            sums[i] = block[i, 0] + block[i, 1] + block[i, 2] + block[i, 3]
            whole += sums[i]
        for i in range(4):
            start = coarse.starts[coarse.rows[cell, i]]
            for j in range(4):
                values[start + coarse.places[cell, i, j]] += (whole - sums[i] - sums[j] + block[i, j]) / 9


@compiled
def spread(points: Array, conductivity: Array, tensor: Array, found: Array) -> None:
    """Write θ = Σᵢ dᵢ·K⁻¹dᵢ/180 [Pa s] of each cell; see `Cells` for the arguments."""
    middle = np.empty(3)
    for cell in range(len(points)):
        for x in range(3):
            middle[x] = 0.25 * (points[cell, 0, x] + points[cell, 1, x] + points[cell, 2, x] + points[cell, 3, x])
        total = 0.0
        for i in range(4):
            a, b, c = points[cell, i, 0] - middle[0], points[cell, i, 1] - middle[1], points[cell, i, 2] - middle[2]
            total += resisted(tensor[cell], a, b, c) if len(tensor) else a * a + b * b + c * c
        found[cell] = total / (180 if len(tensor) else 180 * conductivity[cell])


@compiled
def resisted(k: Array, a: float, b: float, c: float) -> float:
    """Return d·K⁻¹d for d = (a, b, c) and a symmetric tensor, shape (3, 3)."""
    yy, zz = k[1, 1] * k[2, 2] - k[1, 2] * k[1, 2], k[0, 0] * k[2, 2] - k[0, 2] * k[0, 2]
    xx, xy = k[0, 0] * k[1, 1] - k[0, 1] * k[0, 1], k[0, 2] * k[1, 2] - k[0, 1] * k[2, 2]
    xz, yz = k[0, 1] * k[1, 2] - k[0, 2] * k[1, 1], k[0, 1] * k[0, 2] - k[0, 0] * k[1, 2]
    size = k[0, 0] * yy + k[0, 1] * xy + k[0, 2] * xz
    work: float = (a * a * yy + b * b * zz + c * c * xx + 2 * (a * b * xy + a * c * xz + b * c * yz)) / size
    return work


@compiled
def means(cells: Cells, rows: Ints, multiplier: Array, mean: Array) -> None:
    """Write the velocity at the centers, -K ∇l - a ψ M ∇l with M ∇l = -3/20 Σᵢ lᵢ dᵢ, shape (n_cells, 3).

    Args:
        cells: What the equation has in the cells.
        rows: Facets of each cell, shape (n_cells, 4).
        multiplier: l on the facets [Pa].
        mean: Where it goes [mm/s].
    """
    gradients, slope, moment = np.empty((4, 3)), np.empty(3), np.empty(3)
    for cell in range(len(rows)):
        size = cofactors(cells.points[cell], gradients)
        sum_of_all = 0.0
        for i in range(4):
            sum_of_all += multiplier[rows[cell, i]]
        slope[:] = 0.0
        moment[:] = 0.0
        for i in range(4):
            value = multiplier[rows[cell, i]] - 0.25 * sum_of_all
            for x in range(3):
                slope[x] -= 3 / size * value * gradients[i, x]
                moment[x] -= 0.15 * value * cells.points[cell, i, x]
        for x in range(3):
            along = cells.conductivity[cell] * slope[x]
            if len(cells.tensor):
                k = cells.tensor[cell, x]
                along = k[0] * slope[0] + k[1] * slope[1] + k[2] * slope[2]
            mean[cell, x] = -along - cells.layer[cell] * moment[x]


@compiled
def gradients_of(points: Array, found: Array) -> None:
    """Write the gradients of the barycentric coordinates [1/mm], shape (n_cells, 4, 3)."""
    for cell in range(len(points)):
        size = cofactors(points[cell], found[cell])
        found[cell] /= size


@compiled
def outflows(points: Array, mean: Array, divergence: Array, found: Array) -> None:
    """Write the volume rates [mm³/s] out of the cells through their facets, shape (n_cells, 4)."""
    gradients = np.empty((4, 3))
    for cell in range(len(points)):
        size = cofactors(points[cell], gradients)
        sign = -0.5 if size > 0 else 0.5
        own = divergence[cell] * abs(size) / 24
        for i in range(4):
            along = gradients[i, 0] * mean[cell, 0] + gradients[i, 1] * mean[cell, 1] + gradients[i, 2] * mean[cell, 2]
            found[cell, i] = sign * along + own


@compiled
def centers_of(rows: Ints, multiplier: Array, found: Array) -> None:
    """Write l at the cells' centers [Pa], shape (n_cells,)."""
    for cell in range(len(rows)):
        a, b, c, d = rows[cell]
        found[cell] = 0.25 * (multiplier[a] + multiplier[b] + multiplier[c] + multiplier[d])


@compiled
def corners_of(rows: Ints, nodes: Ints, found: Ints) -> None:
    """Write the nodes of the facets that `found` has, ascending, shape (n_facets, 3).

    Args:
        rows: Facets of each cell, each opposite the vertex of the same place, shape (n_cells, 4).
        nodes: Nodes of each cell, shape (n_cells, 4).
        found: Where they go.
    """
    for cell in range(len(rows)):
        for i in range(4):
            row = rows[cell, i]
            if row < len(found):
                a, b, c = nodes[cell, (i + 1) % 4], nodes[cell, (i + 2) % 4], nodes[cell, (i + 3) % 4]
                low, high = min(a, b, c), max(a, b, c)
                found[row, 0], found[row, 1], found[row, 2] = low, a ^ b ^ c ^ low ^ high, high
