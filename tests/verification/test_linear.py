"""What PETSc holds of our objects: enough to ask them, not enough to keep them."""

from __future__ import annotations

import gc
import weakref

from turgor.fem.startup import MPI, PETSc

from turgor.fem.linear import Unheld


class Doubling:
    """A matrix of ours, as PETSc asks for it."""

    def mult(self, matrix: PETSc.Mat, values: PETSc.Vec, product: PETSc.Vec) -> None:
        product.array_w[:] = 2 * values.array_r


def test_a_matrix_that_outlives_what_it_asks_neither_keeps_it_nor_fails_to_end() -> None:
    ours = Doubling()
    ended = weakref.ref(ours)
    matrix = PETSc.Mat().createPython(((2, None), (2, None)), Unheld(ours), comm=MPI.COMM_WORLD)
    matrix.setUp()
    given, product = matrix.createVecs()
    given.set(3.0)
    matrix.mult(given, product)
    assert (product.array == 6.0).all()
    del ours
    gc.collect()
    assert ended() is None
    for item in (matrix, given, product):
        item.destroy()
