"""Interstitial flow fed by leaky vessels and drained by lymphatics.

    ∇·v = Jv - Jl + Q,   v = -K ∇p
    Jv = Lp S/V (pv - p - σ (πv - πi)) = A (pe - p)        filtration (Starling)
    Jl = LpL SL/V (p - pL) = L (p - pL), never negative    lymph; it does not refill tissue

p pressure [Pa], v Darcy velocity [mm/s], K hydraulic conductivity [mm²/(Pa s)], Q volume source [1/s].
Natural condition: no flow through the surface. Source: Baxter and Jain (1989).

Discretization: lowest-order Raviart-Thomas velocity and one pressure p_T a cell, hybridized in closed form. The
multiplier l, nonconforming piecewise linear, is the pressure on the facets; K is a number or a symmetric tensor, and
with s(p) = f - a p the rate of a cell, dᵢ = xᵢ - x_T from its center to its four vertices,

    (K ∇l, ∇m) + (a ψ (l - l_T), m - m_T) + (a/(1 + a θ) l_T, m_T) = (f/(1 + a θ), m_T),
    θ = Σᵢ dᵢ·K⁻¹dᵢ / 180,   ψ = (z coth z - 1) 3/z²,   z = 3 √(a θ),
    p_T = (l_T + θ f) / (1 + a θ),    v_T = -(K + a ψ M) ∇l + s(p_T)/3 (x - x_T),   M = Σᵢ dᵢdᵢ' / 20.

The second term is what thin layers need. Where the pressure is p_T + ∇l·(x - x_T), more fluid is made at the low end
of a cell than at the high one, and leaves it there: its moment -a M ∇l adds to the fluxes through the facets. ψ is 1
where cells are small; it makes the scheme exact for layers in one dimension, however thin. It takes the part of a that
does not switch.

The flux through each facet is then the same from both sides and the balance of each cell holds to the accuracy of
the linear solver. Source: Arnold and Brezzi (1985), Marini (1985), for the equivalence with mixed elements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


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
        uniform: Where the pressures at which fluid rests are those of the whole region; see `steady_slope`.
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
    uniform: Flags

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

    def steady_slope(self) -> Array:
        """Return the part of a [1/(Pa s)] that is never switched off, for thin layers.

        It is zero where a map makes the pressure vary at which fluid rests: there the rate of a cell does not fall by
        a with the pressure from its one end to the other.
        """
        return np.asarray(self.uniform * (self.exchange * ~self.no_reabsorption + self.lymph * ~self.one_way))


def layer_factor(slope: Array, theta: Array) -> Array:
    """Return ψ = (z coth z - 1) 3/z² with z = 3 √(a θ): 1 in cells that show the layer, 3/z in large ones."""
    z = 3 * np.sqrt(slope * theta)
    large = np.maximum(z, 0.05)
    return np.where(z < 0.05, 1 - z**2 / 15, (large / np.tanh(large) - 1) * 3 / large**2)
