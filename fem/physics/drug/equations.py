"""Drug in the interstitium: free concentration with exchange with the blood, lymph loss and decay.

    ∂(n_a c)/∂t + ∇·(R v c - n_a D ∇c) = Σ terms (gain c_p - loss c)

c free drug per accessible fluid [mol/m³], n_a accessible fluid per tissue volume, v Darcy velocity [mm/s], R convective
hindrance, D interstitial diffusivity [mm²/s], c_p free drug in plasma [mol/m³].
Natural condition: no diffusion; fluid that leaves takes R c along, fluid that enters brings none.
Source: Baxter and Jain (1989).

Terms, as rates per tissue volume [1/s]:

    vessels   gain = Jv (1 - σf) + P S/V Pe/(e^Pe - 1),  loss = P S/V Pe/(e^Pe - 1),  Pe = Jv (1 - σf)/(P S/V)
    lymph     loss = Jl, the fluid that the lymphatics take; it carries c
    decay     loss = k n_a
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import ufl
from numpy.typing import NDArray

from turgor.fem.assembly import Function
from turgor.fem.flux import DarcyFlux
from turgor.materials.laws import patlak

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """What a term may use: parameters on the cells, and the flow."""

    flux: DarcyFlux
    diffusivity: Array
    vascular_permeability: Array
    vessel_surface_density: Array
    filtration_reflection: Array
    convective_hindrance: Array
    available_volume_fraction: Array
    decay_rate: Array


@dataclass(frozen=True)
class Term:
    """A rate per tissue volume: gain c_p - loss c, both coefficients at least zero [1/s], one a cell."""

    name: str
    gain: Array
    loss: Array


def vessels(cells: Cells) -> Term:
    """Exchange through the pores of the vessel wall (Patlak's form, exact for a one-dimensional pore)."""
    surface = cells.vascular_permeability * cells.vessel_surface_density
    gain, loss = patlak(cells.flux.filtration, surface, cells.filtration_reflection)
    return Term("vessels", gain, loss)


def lymph(cells: Cells) -> Term:
    """Lymphatics carry the drug away with the fluid that they take."""
    loss = np.maximum(cells.flux.lymph, 0.0)
    return Term("lymph", np.zeros_like(loss), loss)


def decay(cells: Cells) -> Term:
    """First-order decay in the accessible fluid."""
    loss = cells.decay_rate * cells.available_volume_fraction
    return Term("decay", np.zeros_like(loss), loss)


# To add a term, write a function like those above and name it here: transport and balance take it from there.
TERMS: tuple[Callable[[Cells], Term], ...] = (vessels, lymph, decay)


def transport(
    c: ufl.Argument,
    w: ufl.Argument,
    hindrance: Function,
    velocity: ufl.core.expr.Expr,
    diffusivity: Function,
) -> ufl.Form:
    """Return (R c v, ∇w) - (n_a D ∇c, ∇w), with `diffusivity` = n_a D; its columns sum to zero."""
    dx = ufl.dx(metadata={"quadrature_degree": 2})
    weak: ufl.Form = (
        hindrance * c * ufl.dot(velocity, ufl.grad(w)) - diffusivity * ufl.dot(ufl.grad(c), ufl.grad(w))
    ) * dx
    return weak


def mass(c: ufl.Argument, w: ufl.Argument, fraction: Function) -> ufl.Form:
    """Return (n_a c, w)."""
    weak: ufl.Form = fraction * c * w * ufl.dx(metadata={"quadrature_degree": 2})
    return weak


def velocity(mean: Function, divergence: Function, center: Function) -> ufl.core.expr.Expr:
    """Return v = mean + divergence/3 (x - x_T), the conservative Darcy velocity."""
    speed: ufl.core.expr.Expr = mean + divergence / 3 * (ufl.SpatialCoordinate(mean.function_space.mesh) - center)
    return speed
