"""Interstitial flow fed by leaky vessels and drained by lymphatics.

    ∇·v = Jv - Jl + Q,   v = -K ∇p
    Jv = Lp S/V (pv - p - σ (πv - πi)) = A (pe - p)        filtration (Starling)
    Jl = LpL SL/V (p - pL) = L (p - pL), never negative    lymph; it does not refill tissue

p pressure [Pa], v Darcy velocity [mm/s], K hydraulic conductivity [mm²/(Pa s)], Q volume source [1/s].
Natural condition: no flow through the surface. Source: Baxter and Jain (1989).

Discretization: lowest-order Raviart-Thomas velocity and one pressure p_T a cell, hybridized in closed form. The
multiplier l, nonconforming piecewise linear, is the pressure on the facets: with s(p) = f - a p the rate of a cell,

    (K ∇l, ∇m) + (a/(1 + a θ) l, m) = (f/(1 + a θ), m)     integrals by one point a cell,
    θ = Σᵢ |xᵢ - x_T|² / (180 K),                            over the four vertices of the cell,
    p_T = (l(x_T) + θ f) / (1 + a θ),    v_T = -K ∇l + s(p_T)/3 (x - x_T).

The flux through each facet is then the same from both sides and the balance of each cell holds to the accuracy of
the linear solver. Source: Arnold and Brezzi (1985), Marini (1985), for the equivalence with mixed elements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import ufl
from numpy.typing import NDArray

from turgor.fem.assembly import Function

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


def bilinear(l: ufl.Argument, m: ufl.Argument, conductivity: Function, sink: Function) -> ufl.Form:  # noqa: E741
    """Return (K ∇l, ∇m) + (a/(1 + a θ) l, m), with `sink` = a/(1 + a θ)."""
    dx = ufl.dx(metadata={"quadrature_degree": 1})
    weak: ufl.Form = (conductivity * ufl.dot(ufl.grad(l), ufl.grad(m)) + sink * l * m) * dx
    return weak


def linear(m: ufl.Argument, source: Function) -> ufl.Form:
    """Return (f/(1 + a θ), m), with `source` = f/(1 + a θ)."""
    weak: ufl.Form = source * m * ufl.dx(metadata={"quadrature_degree": 1})
    return weak


@dataclass(frozen=True)
class Rates:
    """The rate of fluid made in each cell as a function of its pressure.

    Attributes:
        exchange: A = Lp S/V [1/(Pa s)].
        effective: pe = pv - σ (πv - πi) [Pa].
        lymph: L = LpL SL/V [1/(Pa s)].
        lymph_pressure: pL [Pa].
        source: Q [1/s].
        one_way: Where lymph never refills tissue.
        no_reabsorption: Where vessels never take fluid back.
        filters: Where the exchange with vessels is switched on.
        drains: Where the lymph is switched on.
    """

    exchange: Array
    effective: Array
    lymph: Array
    lymph_pressure: Array
    source: Array
    one_way: Flags
    no_reabsorption: Flags
    filters: Flags
    drains: Flags

    def filtration(self, pressure: Array) -> Array:
        """Return Jv [1/s]; negative where fluid is reabsorbed."""
        return np.where(self.filters, self.exchange * (self.effective - pressure), 0.0)

    def drainage(self, pressure: Array) -> Array:
        """Return Jl [1/s]."""
        return np.where(self.drains, self.lymph * (pressure - self.lymph_pressure), 0.0)

    def slope(self) -> Array:
        """Return a [1/(Pa s)] of s(p) = f - a p."""
        return np.asarray(self.exchange * self.filters + self.lymph * self.drains)

    def constant(self) -> Array:
        """Return f [1/s] of s(p) = f - a p."""
        inflow = self.exchange * self.effective * self.filters
        return np.asarray(inflow + self.lymph * self.lymph_pressure * self.drains + self.source)

    def switched(self, multiplier: Array, theta: Array) -> Rates:
        """Return the rates with lymph and reabsorption switched by the multiplier l at the cells' centers.

        p_T - θ s(p_T) = l grows with p_T, so p_T > pL if and only if pL - θ s(pL) < l, and so for pe.
        """
        gap = self.exchange * (self.effective - self.lymph_pressure)
        at_lymph = np.where(self.no_reabsorption, np.maximum(gap, 0.0), gap) + self.source
        drains = ~self.one_way | (multiplier + theta * at_lymph > self.lymph_pressure)
        gap = self.lymph * (self.effective - self.lymph_pressure)
        at_effective = self.source - np.where(self.one_way, np.maximum(gap, 0.0), gap)
        filters = ~self.no_reabsorption | (multiplier < self.effective - theta * at_effective)
        return replace(self, drains=drains, filters=filters)


def theta(conductivity: Array, points: Array, centers: Array) -> Array:
    """Return θ [Pa s] of each cell.

    Args:
        conductivity: K [mm²/(Pa s)], shape (n,).
        points: Vertices [mm], shape (n, 4, 3).
        centers: Barycenters [mm], shape (n, 3).
    """
    spread = ((points - centers[:, None]) ** 2).sum(axis=(1, 2))
    return np.asarray(spread / (180 * conductivity))
