"""Constitutive laws of tissue and plasma: pure functions of arrays.

They hold in any coherent units; in those of turgor, pressures are in Pa, conductances per volume in 1/(Pa s), rates in
1/s, permeability times surface per volume in 1/s. Arguments broadcast as in numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

BOLTZMANN: Final = 1.380649e-14
"""Boltzmann constant [Pa mm³/K]."""

_LARGEST: Final = 700.0
"""Exponent beyond which e^x leaves the range of doubles."""


def effective_pressure(
    vascular_pressure: ArrayLike,
    osmotic_reflection: ArrayLike,
    plasma_oncotic_pressure: ArrayLike,
    tissue_oncotic_pressure: ArrayLike,
) -> Array:
    """Return the interstitial pressure at which vessels stop filtering [Pa].

        pe = pv - σ (πv - πi)

    Source: Baxter and Jain (1989).
    """
    oncotic = _array(plasma_oncotic_pressure) - _array(tissue_oncotic_pressure)
    return _array(vascular_pressure) - _array(osmotic_reflection) * oncotic


def filtration(pressure: ArrayLike, conductance: ArrayLike, effective: ArrayLike) -> Array:
    """Return the fluid that vessels give to the tissue per volume and time [1/s]; negative where they take it back.

        φV = Lp S/V (pe - p)

    Args:
        pressure: Interstitial pressure p [Pa].
        conductance: Conductance of the vessels per tissue volume, Lp S/V [1/(Pa s)].
        effective: Effective pressure pe [Pa], see `effective_pressure`.

    Source: Starling's law as in Baxter and Jain (1989).
    """
    return _array(conductance) * (_array(effective) - _array(pressure))


def filtration_one_way(pressure: ArrayLike, conductance: ArrayLike, effective: ArrayLike) -> Array:
    """Return the same for vessels that take nothing back [1/s].

        φV = Lp S/V max(pe - p, 0)

    Args and source: as for `filtration`.
    """
    return np.maximum(filtration(pressure, conductance, effective), 0.0)


def lymph(pressure: ArrayLike, conductance: ArrayLike, lymphatic_pressure: ArrayLike) -> Array:
    """Return the fluid that linear lymphatics take per volume and time [1/s].

        φL = LpL SL/V (p - pL)

    Args:
        pressure: Interstitial pressure p [Pa].
        conductance: Conductance of the lymphatics per tissue volume, LpL SL/V [1/(Pa s)].
        lymphatic_pressure: Pressure in the lymphatics pL [Pa].

    Source: Baxter and Jain (1990).
    """
    return _array(conductance) * (_array(pressure) - _array(lymphatic_pressure))


def lymph_one_way(pressure: ArrayLike, conductance: ArrayLike, lymphatic_pressure: ArrayLike) -> Array:
    """Return the same for lymphatics whose valves let nothing back into the tissue [1/s].

        φL = LpL SL/V max(p - pL, 0)

    Args and source: as for `lymph`.
    """
    return np.maximum(lymph(pressure, conductance, lymphatic_pressure), 0.0)


def plateau_pressure(
    conductance: ArrayLike, effective: ArrayLike, lymphatic_conductance: ArrayLike, lymphatic_pressure: ArrayLike
) -> Array:
    """Return the pressure far from all boundaries, where vessels give what lymphatics take [Pa].

        pss = (Lp S/V pe + LpL SL/V pL) / (Lp S/V + LpL SL/V)

    Args: as for `filtration` and `lymph`.
    """
    give, take = _array(conductance), _array(lymphatic_conductance)
    return (give * _array(effective) + take * _array(lymphatic_pressure)) / (give + take)


def decay_length(
    hydraulic_conductivity: ArrayLike, conductance: ArrayLike, lymphatic_conductance: ArrayLike = 0.0
) -> Array:
    """Return the distance over which a disturbance of the pressure decays [mm].

        1/α = √(K / (Lp S/V + LpL SL/V))

    Args:
        hydraulic_conductivity: K [mm²/(Pa s)].
        conductance: Lp S/V [1/(Pa s)].
        lymphatic_conductance: LpL SL/V [1/(Pa s)].

    Returns:
        Infinite where nothing exchanges fluid.

    Source: Baxter and Jain (1989).
    """
    with np.errstate(divide="ignore"):
        length: Array = np.sqrt(_array(hydraulic_conductivity) / (_array(conductance) + _array(lymphatic_conductance)))
    return length


def lymphatic_conductance(
    conductance: ArrayLike, effective: ArrayLike, far_pressure: ArrayLike, lymphatic_pressure: ArrayLike
) -> Array:
    """Return the lymphatic conductance that makes tissue rest at a given pressure [1/(Pa s)].

        LpL SL/V = Lp S/V (pe - p*) / (p* - pL)

    Args:
        conductance: Lp S/V [1/(Pa s)].
        effective: Effective pressure pe of the vessels [Pa].
        far_pressure: Pressure p* far from all boundaries [Pa], between pL and pe.
        lymphatic_pressure: pL [Pa].
    """
    far = _array(far_pressure)
    return _array(conductance) * (_array(effective) - far) / (far - _array(lymphatic_pressure))


def patlak_factor(x: ArrayLike) -> Array:
    """Return x/(eˣ - 1), which is 1 at 0, tends to 0 for large x and to -x for large negative x."""
    exponent = np.minimum(_array(x), _LARGEST)
    return np.divide(exponent, np.expm1(exponent), out=np.ones_like(exponent), where=exponent != 0.0)


def patlak(filtration: ArrayLike, permeability_surface: ArrayLike, reflection: ArrayLike) -> tuple[Array, Array]:
    """Return how fast a solute enters from plasma and goes back, per tissue volume.

        φs = gain cp - loss c
        gain = φV (1 - σf) + loss,   loss = P S/V Pe/(e^Pe - 1),   Pe = φV (1 - σf)/(P S/V)

    Both are never negative. Without diffusion through the wall (P S/V → 0) solute goes with the fluid: from plasma
    where φV > 0, from tissue where φV < 0. The sum is written with |Pe|, so that nothing cancels when fluid goes back:
    b = P S/V |Pe|/(e^|Pe| - 1), gain = b + max(φV (1 - σf), 0), loss = b + max(-φV (1 - σf), 0).

    Args:
        filtration: φV [1/s], of either sign.
        permeability_surface: P S/V [1/s].
        reflection: Filtration reflection coefficient σf of the solute.

    Returns:
        gain [1/s], to be multiplied by the concentration in plasma that can leave it, and loss [1/s], to be multiplied
        by the free concentration in accessible interstitial fluid.

    Source: Baxter and Jain (1989), after Patlak.
    """
    drag = _array(filtration) * (1.0 - _array(reflection))
    drag, diffusion = np.broadcast_arrays(drag, _array(permeability_surface))
    with np.errstate(over="ignore"):
        peclet = np.divide(np.abs(drag), diffusion, out=np.zeros_like(drag), where=diffusion > 0.0)
    both = diffusion * patlak_factor(peclet)
    return both + np.maximum(drag, 0.0), both + np.maximum(-drag, 0.0)


def stokes_einstein(radius: ArrayLike, temperature: ArrayLike = 310.15, viscosity: ArrayLike = 6.9e-4) -> Array:
    """Return the diffusivity of a sphere in free fluid [mm²/s].

        D = kB T / (6 π μ r)

    Args:
        radius: Hydrodynamic radius r [mm].
        temperature: T [K].
        viscosity: μ [Pa s]; by default that of water at body temperature.
    """
    return BOLTZMANN * _array(temperature) / (6.0 * np.pi * _array(viscosity) * _array(radius))


def half_life(rate: ArrayLike) -> Array:
    """Return the half-life of a first-order rate: ln 2 / k, not 1/k."""
    return float(np.log(2.0)) / _array(rate)


def multi_exponential(
    t: ArrayLike, amplitudes: Sequence[float], rates: Sequence[float], duration: float = 0.0
) -> Array:
    """Return the plasma concentration per dose at times t after the start of a bolus or of an infusion.

        bolus:     c/dose = Σ Aᵢ e^(-kᵢ t)
        infusion:  c/dose = Σ Aᵢ/(kᵢ T) (1 - e^(-kᵢ min(t, T))) e^(-kᵢ max(t - T, 0))

    The dose is the same, so a short infusion tends to the bolus, and both have the same area Σ Aᵢ/kᵢ.

    Args:
        t: Times since the start [s], any shape; zero is returned before it.
        amplitudes: Aᵢ [1/mm³].
        rates: kᵢ [1/s]; ln 2 over the half-life.
        duration: T [s] of the infusion; 0 for a bolus.

    Returns:
        [1/mm³], shape of t.
    """
    time = _array(t)
    after = np.maximum(time, 0.0)
    given = np.minimum(after, duration) / duration if duration > 0.0 else np.ones_like(after)
    response = np.zeros_like(after)
    for amplitude, rate in zip(amplitudes, rates, strict=True):
        start = amplitude * given / patlak_factor(-rate * np.minimum(after, duration))
        response += start * np.exp(-rate * np.maximum(after - duration, 0.0))
    return np.where(time < 0.0, 0.0, response)


def schedule(
    t: ArrayLike, starts: Sequence[float], amplitudes: Sequence[float], rates: Sequence[float], duration: float = 0.0
) -> Array:
    """Return the sum of equal doses given at several starts, per single dose; see `multi_exponential`.

    Args:
        t: Times [s], any shape.
        starts: Times at which a bolus is given or an infusion begins [s].
        amplitudes: Aᵢ [1/mm³].
        rates: kᵢ [1/s].
        duration: T [s] of each infusion; 0 for a bolus.

    Returns:
        [1/mm³], shape of t.
    """
    time = _array(t)
    doses = (multi_exponential(time - start, amplitudes, rates, duration) for start in starts)
    return sum(doses, start=np.zeros_like(time))


def _array(values: ArrayLike) -> Array:
    """Return values as an array of doubles."""
    return np.asarray(values, dtype=np.float64)
