"""Closed forms that are not among those of the sphere demo, and those."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_banded

Array = NDArray[np.float64]
ROOT = Path(__file__).parents[2]


def of_the_demo() -> Any:
    """Return the module of the closed forms of a spherical tumor, which the sphere demo draws."""
    return _module("demos_sphere_closed_form", ROOT / "demos" / "sphere" / "closed_form.py")


def of_the_tests(path: str) -> Any:
    """Return a module of tests, such as "verification/test_flow_core.py", for the solutions in it."""
    return _module(f"of_the_tests_{Path(path).stem}", ROOT / "tests" / path)


def _module(name: str, path: Path) -> Any:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@dataclass(frozen=True)
class NecroticCore:
    """An isolated sphere whose core, r < R_n, has no vessels.

    p = pe - pe (R/r) F(r)/F(R) for r > R_n, uniform inside, with F(r) = sinh a(r - R_n) + a R_n cosh a(r - R_n):
    (F/r)' = 0 at R_n, so that nothing flows into the core.

    Attributes:
        conductivity: K [mm²/(Pa s)].
        filtration: Lp S/V [1/(Pa s)].
        plateau: pe [Pa].
        core: R_n [mm].
        radius: R [mm].
    """

    conductivity: float
    filtration: float
    plateau: float
    core: float
    radius: float

    def pressure(self, r: Array) -> Array:
        """Return p [Pa] at distances [mm]."""
        a, outside = np.sqrt(self.filtration / self.conductivity), np.maximum(r, self.core)

        def f(x: Array | float) -> Array:
            return np.asarray(np.sinh(a * (x - self.core)) + a * self.core * np.cosh(a * (x - self.core)))

        return np.asarray(self.plateau * (1 - self.radius / outside * f(outside) / f(self.radius)))

    @property
    def rim_velocity(self) -> float:
        """Outward velocity at R [mm/s], K pe (F'(R)/F(R) - 1/R)."""
        a = float(np.sqrt(self.filtration / self.conductivity))
        x = a * (self.radius - self.core)
        ratio = a * (1 + a * self.core * np.tanh(x)) / (np.tanh(x) + a * self.core)
        return float(self.conductivity * self.plateau * (ratio - 1 / self.radius))


@dataclass(frozen=True)
class Slab:
    """Leaky tissue between two parallel planes: p = pe + b e^(-ax) + c e^(-a(L-x)), a = √(A/K).

    At both ends -K p'·n = k (p - p₀) - g, n outward: an exchange (g = 0), an inflow (k = 0), a pressure (k → ∞).

    Attributes:
        conductivity: K [mm²/(Pa s)].
        filtration: A [1/(Pa s)].
        plateau: pe [Pa].
        length: L [mm].
        ends: (k [mm/(Pa s)], p₀ [Pa], g [mm/s]) at x = 0 and at x = L.
    """

    conductivity: float
    filtration: float
    plateau: float
    length: float
    ends: tuple[tuple[float, float, float], tuple[float, float, float]]

    def _solve(self) -> tuple[float, float, float]:
        a = float(np.sqrt(self.filtration / self.conductivity))
        thin, slope = float(np.exp(-a * self.length)), self.conductivity * a
        (k, p, g), (l, q, h) = self.ends  # noqa: E741
        # At x = 0: K p' = k (p - p₀) - g with p' = a (-b + c e^-aL); at x = L: -K p' = l (p - q) - h.
        rows = [[-slope - k, (slope - k) * thin], [(slope - l) * thin, -slope - l]]
        b, c = np.linalg.solve(rows, [k * (self.plateau - p) - g, l * (self.plateau - q) - h])
        return a, float(b), float(c)

    def pressure(self, x: Array) -> Array:
        """Return p [Pa]."""
        a, b, c = self._solve()
        return np.asarray(self.plateau + b * np.exp(-a * x) + c * np.exp(-a * (self.length - x)))

    def velocity(self, x: Array | float) -> Array:
        """Return -K p' [mm/s]."""
        a, b, c = self._solve()
        return np.asarray(self.conductivity * a * (b * np.exp(-a * x) - c * np.exp(-a * (self.length - x))))


@dataclass(frozen=True)
class Layer:
    """Tissue between two concentric spheres.

    Attributes:
        end: Outer radius [mm].
        conductivity: K [mm²/(Pa s)].
        slope: a of the rate s = f - a p [1/(Pa s)].
        constant: f [1/s].
    """

    end: float
    conductivity: float
    slope: float = 0.0
    constant: float = 0.0


def finite_volumes(layers: tuple[Layer, ...], n: int, outer: float | None) -> tuple[Array, Array, Array]:
    """Solve -(r² K p')' = r² (f - a p) by finite volumes in r, an independent check of the formulas.

    Args:
        layers: From the inside out.
        n: Volumes in each layer.
        outer: Pressure at the last radius [Pa]; None when nothing passes.

    Returns:
        Middles of the volumes [mm], pressures there [Pa], outward velocities at the ends of the layers [mm/s].
    """
    starts = [0.0, *(layer.end for layer in layers[:-1])]
    parts = [np.linspace(start, layer.end, n + 1) for start, layer in zip(starts, layers, strict=True)]
    faces = np.concatenate([parts[0], *(part[1:] for part in parts[1:])])
    conductivity, slope, constant = (
        np.repeat([getattr(layer, name) for layer in layers], n) for name in ("conductivity", "slope", "constant")
    )
    middles, volumes = (faces[1:] + faces[:-1]) / 2, np.diff(faces**3) / 3
    # From a middle to a face K p' r² = const. passes 1/(1/r - 1/r_F) / K; both halves stand in series.
    below = (1 / middles - 1 / faces[1:]) / conductivity
    above = (1 / faces[1:-1] - 1 / middles[1:]) / conductivity[1:]
    passes = 1 / (below[:-1] + above)
    rim = 0.0 if outer is None else 1 / below[-1]
    diagonal = slope * volumes + np.append(passes, rim) + np.insert(passes, 0, 0.0)
    right = constant * volumes
    right[-1] += rim * (outer or 0.0)
    bands = np.array([np.insert(-passes, 0, 0.0), diagonal, np.append(-passes, 0.0)])
    pressure = solve_banded((1, 1), bands, right)
    leaving = np.cumsum((constant - slope * pressure) * volumes)[n - 1 :: n]
    return middles, np.asarray(pressure), np.asarray(leaving / np.array([layer.end for layer in layers]) ** 2)


def crank_uptake(fourier: float) -> float:
    """Return M_t/M_∞ of a sphere whose surface is held at a concentration, at D t/a².

    1 - (6/π²) Σ exp(-n² π² D t/a²)/n². Source: Crank, The Mathematics of Diffusion (1975), eq. 6.20.
    """
    n = np.arange(1, 400)
    return float(1 - 6 / np.pi**2 * (np.exp(-((n * np.pi) ** 2) * fourier) / n**2).sum())


def thiele(phi: float, r: Array) -> Array:
    """Return c/c_s = sinh(φ r/R) R/(r sinh φ) at r/R > 0: diffusion with decay, φ = R √(k/D)."""
    return np.asarray(np.sinh(phi * r) / (r * np.sinh(phi)))


def washed(rate: float, phases: tuple[tuple[float, float], ...], t: Array) -> Array:
    """Return c(t) of dc/dt = λ (c_p - c), c(0) = 0, with c_p = Σ A e^(-kt).

    c = Σ A λ/(λ - k) (e^(-kt) - e^(-λt)).
    """
    return np.asarray(sum(a * rate / (rate - k) * (np.exp(-k * t) - np.exp(-rate * t)) for a, k in phases))
