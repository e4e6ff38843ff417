"""Matrices and vectors of forms, with types: what DOLFINx and PETSc leave untyped stays in this module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import PETSc  # isort: skip  (MPI before DOLFINx)

from dolfinx import fem
from dolfinx.fem import petsc

Array = NDArray[np.float64]
Function = fem.Function[np.float64]
Form = fem.Form[np.float64]
DirichletBC = fem.DirichletBC[np.float64]


def new(space: fem.FunctionSpace[np.float64], name: str = "f") -> Function:
    """Return a function of a space, zero everywhere."""
    return fem.Function(space, dtype=np.float64, name=name)


def strongly(value: Function, dofs: NDArray[np.int32]) -> DirichletBC:
    """Return the condition that some unknowns have the values of a function."""
    condition: DirichletBC = fem.dirichletbc(value, dofs)
    return condition


def array(function: Function) -> Array:
    """Return the local values of a function, ghosts included; a view."""
    values: Array = function.x.array
    return values


def assemble(matrix: PETSc.Mat, form: Form, strong: Sequence[DirichletBC] = ()) -> PETSc.Mat:
    """Assemble a bilinear form into a matrix, prescribed rows and columns as in the identity; collective."""
    matrix.zeroEntries()
    petsc.assemble_matrix(matrix, form, bcs=list(strong))  # type: ignore[misc, arg-type]
    matrix.assemble()
    return matrix


def assemble_right(
    vector: PETSc.Vec, linear: Form, extra: Array, bilinear: Form, strong: Sequence[DirichletBC]
) -> PETSc.Vec:
    """Assemble a right-hand side with the terms of prescribed values; collective.

    Args:
        vector: Where it goes.
        linear: The linear form.
        extra: Terms at the owned unknowns that are added.
        bilinear: The bilinear form, for the columns of prescribed unknowns.
        strong: Prescribed values.
    """
    with vector.localForm() as local:
        local.set(0.0)
    petsc.assemble_vector(vector, linear)  # type: ignore[arg-type]
    vector.array[:] += extra
    petsc.apply_lifting(vector, [bilinear], [list(strong)])
    add_from_ghosts(vector)
    petsc.set_bc(vector, list(strong))
    return vector


def add_from_ghosts(vector: PETSc.Vec) -> None:
    """Add what ghosts hold to their owners; collective."""
    vector.ghostUpdate(addv=True, mode="reverse")


def largest_of_ghosts(vector: PETSc.Vec) -> None:
    """Give each owner the largest of its value and its ghosts'; collective."""
    vector.ghostUpdate(addv=PETSc.InsertMode.MAX_VALUES, mode="reverse")  # type: ignore[arg-type]


def values_on_rows(matrix: PETSc.Mat, pointer: NDArray[np.int64], columns: NDArray[np.int64], values: Array) -> None:
    """Set all values of the owned rows; collective."""
    numbers = (pointer.astype(PETSc.IntType), columns.astype(PETSc.IntType))
    matrix.setValuesCSR(*numbers, values)  # type: ignore[arg-type]
    matrix.assemble()
