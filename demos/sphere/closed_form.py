"""Interstitial pressure in and around a spherical tumor, in closed form.

A uniform sphere of leaky vessels obeys

    ∇·v = Jv - Jl,   v = -K ∇p,   Jv = Lp S/V (pe - p),   pe = pv - σ (πv - πi),   Jl = LL (p - pL)

with r the distance from the center. With a lymphatic drainage that is linear in p this is p'' + 2 p'/r = a² (p - p∞),
whose solutions are sinh(ar)/r, cosh(ar)/r, exp(±ar)/r. All lengths are in mm, pressures in Pa, velocities in mm/s.

Source: Baxter and Jain (1989), doi 10.1016/0026-2862(89)90074-5, for the isolated sphere; the others follow in the same
way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cosh, exp, sinh, sqrt, tanh

import numpy as np
from numpy.typing import NDArray

type Radii = NDArray[np.float64]
type Profile = Callable[[Radii], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Tissue:
    """A tissue whose flow parameters are the same everywhere.

    Attributes:
        hydraulic_conductivity: K [mm²/(Pa s)].
        filtration: Lp S/V, what the vessels give per volume and pressure [1/(Pa s)].
        vessel_pressure: pe = pv - σ (πv - πi), the pressure at which the vessels stop leaking [Pa].
        lymph: LL = LpL SL/V [1/(Pa s)].
        lymph_pressure: pL [Pa].
    """

    hydraulic_conductivity: float
    filtration: float
    vessel_pressure: float
    lymph: float = 0.0
    lymph_pressure: float = 0.0

    @property
    def plateau(self) -> float:
        """Pressure far from every boundary, where vessels give what lymph takes [Pa]."""
        given = self.filtration * self.vessel_pressure + self.lymph * self.lymph_pressure
        return given / (self.filtration + self.lymph)

    @property
    def decay(self) -> float:
        """Inverse of the length over which a boundary is felt, a = √((Lp S/V + LL) / K) [1/mm]."""
        return sqrt((self.filtration + self.lymph) / self.hydraulic_conductivity)


@dataclass(frozen=True, slots=True)
class Solution:
    """A pressure profile and the Darcy velocity with which fluid leaves the tumor at its rim.

    Attributes:
        pressure: Function of the distance from the center [mm] to the pressure [Pa].
        rim_velocity: Outward Darcy velocity at r = R [mm/s].
        radius: R [mm].
    """

    pressure: Profile
    rim_velocity: float
    radius: float

    @property
    def flux(self) -> float:
        """Fluid leaving the tumor through its whole surface, 4πR² v(R) [mm³/s]."""
        return 4.0 * np.pi * self.radius**2 * self.rim_velocity


def isolated(tumor: Tissue, radius: float) -> Solution:
    """Return the pressure in a sphere whose rim is held at p = 0.

    p(r) = p∞ (1 - (R/r) sinh(ar) / sinh(aR)),   v(R) = (K p∞ / R) (aR coth(aR) - 1)

    Args:
        tumor: Its tissue.
        radius: R [mm].
    """
    a = tumor.decay

    def pressure(r: Radii) -> NDArray[np.float64]:
        return tumor.plateau * (1.0 - radius * _sinh_over_r(a, r) / sinh(a * radius))

    reach = a * radius
    velocity = tumor.hydraulic_conductivity * tumor.plateau / radius * (reach / tanh(reach) - 1.0)
    return Solution(pressure, velocity, radius)


def embedded(tumor: Tissue, normal: Tissue, radius: float) -> Solution:
    """Return the pressure of a tumor in normal tissue without end.

    p₁ = p₁∞ + A sinh(ar)/r inside, p₂ = p₂∞ + B exp(-b(r-R))/r outside; pressure and K ∂p/∂r are continuous at R:

        A = R (p₂∞ - p₁∞) / (sinh aR + (K₁/K₂) S / (1 + bR)),   B = -K₁ A S / (K₂ (1 + bR)),   S = aR cosh aR - sinh aR

    Args:
        tumor: Tissue for r < R.
        normal: Tissue for r > R.
        radius: R [mm].
    """
    a, b = tumor.decay, normal.decay
    slope = _slope(a * radius)
    ratio = tumor.hydraulic_conductivity / normal.hydraulic_conductivity / (1.0 + b * radius)
    inner = radius * (normal.plateau - tumor.plateau) / (sinh(a * radius) + ratio * slope)
    outer = -ratio * inner * slope

    def pressure(r: Radii) -> NDArray[np.float64]:
        r = np.asarray(r, dtype=np.float64)
        outside = np.maximum(r, radius)
        return np.where(
            r < radius,
            tumor.plateau + inner * _sinh_over_r(a, np.minimum(r, radius)),
            normal.plateau + outer * np.exp(-b * (outside - radius)) / outside,
        )

    return Solution(pressure, -tumor.hydraulic_conductivity * inner * slope / radius**2, radius)


def embedded_in_shell(
    tumor: Tissue, normal: Tissue, radius: float, outer_radius: float, *, outer_pressure: float | None = None
) -> Solution:
    """Return the pressure of a tumor in a concentric shell of normal tissue.

    p₁ = p₁∞ + A sinh(ar)/r inside, p₂ = p₂∞ + (B exp(-b(r-R)) + C exp(-b(R₂-r)))/r in the shell. Pressure and K ∂p/∂r
    are continuous at R; at R₂ either ∂p/∂r = 0 or the pressure is given. The three constants solve a linear system.

    Args:
        tumor: Tissue for r < R.
        normal: Tissue for R < r < R₂.
        radius: R [mm].
        outer_radius: R₂ [mm].
        outer_pressure: Pressure held at R₂ [Pa]; None when nothing passes there.
    """
    a, b, ratio = tumor.decay, normal.decay, tumor.hydraulic_conductivity / normal.hydraulic_conductivity
    thin = exp(-b * (outer_radius - radius))
    # Each row is multiplied by r or r², and A carries sinh(aR), so that no entry overflows.
    slope = _slope(a * radius) / sinh(a * radius)
    jump = normal.plateau - tumor.plateau
    pressures = [1.0, -1.0, -thin]
    fluxes = [ratio * slope, 1.0 + b * radius, (1.0 - b * radius) * thin]
    if outer_pressure is None:
        rim, given = [0.0, -(1.0 + b * outer_radius) * thin, b * outer_radius - 1.0], 0.0
    else:
        rim, given = [0.0, thin, 1.0], (outer_pressure - normal.plateau) * outer_radius
    inner, leaving, arriving = np.linalg.solve([pressures, fluxes, rim], [jump * radius, 0.0, given])

    def pressure(r: Radii) -> NDArray[np.float64]:
        r = np.asarray(r, dtype=np.float64)
        outside = np.maximum(r, radius)
        decays = leaving * np.exp(-b * (outside - radius)) + arriving * np.exp(-b * (outer_radius - outside))
        field: NDArray[np.float64] = np.where(
            r < radius,
            tumor.plateau + inner * _sinh_over_r(a, np.minimum(r, radius)) / sinh(a * radius),
            normal.plateau + decays / outside,
        )
        return field

    return Solution(pressure, float(-tumor.hydraulic_conductivity * inner * slope / radius**2), radius)


def _slope(reach: float) -> float:
    """Return x cosh x - sinh x, the slope of sinh(ar)/r at R times R²."""
    return reach * cosh(reach) - sinh(reach)


def _sinh_over_r(decay: float, r: Radii) -> NDArray[np.float64]:
    """Return sinh(ar)/r, which is a at the center."""
    r = np.asarray(r, dtype=np.float64)
    center = r < 1e-12
    ratio: NDArray[np.float64] = np.where(center, decay, np.sinh(decay * r) / np.where(center, 1.0, r))
    return ratio
