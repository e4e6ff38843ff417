"""Write a small, complete run folder without a solver, so that everything that reads one can be tested alone.

The anatomy is an egg-shaped organ with a ball of tumor off its center, in smooth layers of tetrahedra. The fields are
formulas: the pressure of an isolated sphere of Baxter and Jain (1989) inside the tumor with a 1/r decay outside, its
Darcy velocity, and a concentration that follows a plasma curve faster in the tumor than around it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CENTER = np.array([12.0, -4.0, 8.0])
RADIUS = 9.0
SEMI_AXES = np.array([42.0, 34.0, 30.0])
PLATEAU = 1533.0
ALPHA = 0.9
CONDUCTIVITY = 3.1e-8


@dataclass(frozen=True)
class Fake:
    """What the run is about.

    Attributes:
        times: Times of the fields [s].
        drug: With a concentration, or flow only.
        subdivisions: Of the icosahedron that carries the layers; the cells grow fourfold with each.
        status: Word in run.json.
        core: With a necrotic core as a third region.
        warnings: Sentences in run.json.
    """

    times: tuple[float, ...] = (0.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 24 * 3600.0)
    drug: bool = True
    subdivisions: int = 2
    status: str = "finished"
    core: bool = True
    warnings: tuple[str, ...] = ("tumor bed after surgery, standing in for a tumor",)

    @property
    def regions(self) -> tuple[str, ...]:
        """Names in the order of their index."""
        return ("breast", "tumor", "necrosis") if self.core else ("breast", "tumor")


def write_fake_run(folder: Path, fake: Fake | None = None) -> Path:
    """Write the run folder and return it."""
    fake = fake or Fake()
    folder.mkdir(parents=True, exist_ok=True)
    points, cells, shell = egg(fake.subdivisions)
    region = np.where(shell >= 1.0, 0, np.where((shell < 0.45) & fake.core, 2, 1))
    _write_fields(folder / "fields.vtkhdf", fake, points, cells, region)
    volumes = _volumes(points, cells)
    of_region = [float(volumes[region == i].sum()) for i in range(len(fake.regions))]
    counts = [int((region == i).sum()) for i in range(len(fake.regions))]
    _write_tables(folder, fake, of_region)
    sizes = {"cells": len(cells), "points": len(points)}
    (folder / "run.json").write_text(json.dumps(_run_json(fake, counts, of_region, sizes), indent=1), encoding="utf-8")
    (folder / "resolved.json").write_text(json.dumps(_resolved(fake), indent=1), encoding="utf-8")
    (folder / "case.toml").write_text(_CASE if fake.drug else _CASE.split("[physics.drug]")[0], encoding="utf-8")
    (folder / "references.bib").write_text(_BIB, encoding="utf-8")
    (folder / "log.txt").write_text("made by formulas\n", encoding="utf-8")
    return folder


def egg(subdivisions: int) -> tuple[Floats, Ints, Floats]:
    """Return points [mm], tetrahedra and the shell (1 = tumor surface) at the middle of each tetrahedron."""
    directions, triangles = _icosphere(subdivisions)
    levels = np.array([0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.88, 1.0, 1.12, 1.3, 1.55, 1.9, 2.4, 3.0])
    reach = _reach(directions)
    n = len(directions)
    points = [CENTER[None, :]]
    for level in levels[1:]:
        inside = RADIUS * min(level, 1.0)
        beyond = max(level - 1.0, 0.0) / (levels[-1] - 1.0)
        points.append(CENTER + directions * (inside + beyond * (reach - RADIUS))[:, None])
    cells, shell = (
        [np.column_stack([np.zeros(len(triangles), dtype=np.int64), triangles + 1])],
        [np.full(len(triangles), levels[1] / 2)],
    )
    ordered = np.sort(triangles, axis=1)
    for k in range(1, len(levels) - 1):
        a, b = ordered + 1 + (k - 1) * n, ordered + 1 + k * n
        for piece in ((a, a, a, b), (a, a, b, b), (a, b, b, b)):
            corner = (0, 1, 2, 2) if piece[2] is a else (0, 1, 1, 2) if piece[1] is a else (0, 0, 1, 2)
            cells.append(np.column_stack([part[:, i] for part, i in zip(piece, corner, strict=True)]))
            shell.append(np.full(len(triangles), (levels[k] + levels[k + 1]) / 2))
    together, tets = np.vstack(points), np.vstack(cells)
    flipped = _volumes(together, tets, signed=True) < 0
    tets[flipped] = tets[flipped][:, [0, 2, 1, 3]]
    return together, tets, np.concatenate(shell)


def _icosphere(subdivisions: int) -> tuple[Floats, Ints]:
    """Return unit directions and triangles."""
    phi = (1 + 5**0.5) / 2
    corners: list[tuple[float, float, float]] = [
        (-1, phi, 0),
        (1, phi, 0),
        (-1, -phi, 0),
        (1, -phi, 0),
        (0, -1, phi),
        (0, 1, phi),
    ]
    corners += [(0, -1, -phi), (0, 1, -phi), (phi, 0, -1), (phi, 0, 1), (-phi, 0, -1), (-phi, 0, 1)]
    faces = (
        "0 11 5 0 5 1 0 1 7 0 7 10 0 10 11 1 5 9 5 11 4 11 10 2 10 7 6 7 1 8 3 9 4 3 4 2 3 2 6 3 6 8 3 8 9 4 9 5 2 4 11"
    )
    triangles = np.array((faces + " 6 2 10 8 6 7 9 8 1").split(), dtype=np.int64).reshape(-1, 3)
    points = np.array(corners, dtype=np.float64)
    for _ in range(subdivisions):
        edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]], axis=2)
        unique, inverse = np.unique(edges.reshape(-1, 2), axis=0, return_inverse=True)
        middle = inverse.reshape(-1, 3) + len(points)
        points = np.vstack([points, points[unique].mean(axis=1)])
        a, b, c = triangles.T
        ab, bc, ca = middle.T
        triangles = np.vstack([np.column_stack(t) for t in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))])
    return points / np.linalg.norm(points, axis=1, keepdims=True), triangles


def _reach(directions: Floats) -> Floats:
    """Return the distance [mm] from the tumor's center to the organ's surface in each direction."""
    a = ((directions / SEMI_AXES) ** 2).sum(axis=1)
    b = (directions * CENTER / SEMI_AXES**2).sum(axis=1)
    c = ((CENTER / SEMI_AXES) ** 2).sum() - 1.0
    return np.asarray((-b + np.sqrt(b * b - a * c)) / a)


def _volumes(points: Floats, cells: Ints, *, signed: bool = False) -> Floats:
    """Return the volume of each tetrahedron [mm^3]."""
    corner = points[cells]
    edges = corner[:, 1:] - corner[:, :1]
    determinant = np.linalg.det(edges) / 6.0
    return np.asarray(determinant if signed else np.abs(determinant))


def pressure(radius: Floats) -> Floats:
    """Return the interstitial pressure [Pa] at a distance from the center of the tumor [mm]."""
    x = np.maximum(radius, 1e-9) / RADIUS
    a = ALPHA * RADIUS
    inner = PLATEAU * (1 - 0.9 * np.sinh(np.minimum(a * x, a)) / (np.minimum(x, 1.0) * np.sinh(a)))
    return np.asarray(np.where(x < 1, inner, 0.1 * PLATEAU / x))


def _velocity(points: Floats) -> Floats:
    """Return the Darcy velocity [mm/s] by differences of the pressure along the radius."""
    offset = points - CENTER
    radius = np.linalg.norm(offset, axis=1)
    slope = (pressure(radius + 1e-4) - pressure(np.maximum(radius - 1e-4, 0))) / 2e-4
    return np.asarray(-CONDUCTIVITY * slope[:, None] * offset / np.maximum(radius, 1e-9)[:, None])


def plasma(time: float) -> float:
    """Return the free concentration in plasma [mol/m^3]."""
    return float(4e-3 * np.exp(-time / 1200.0) + 2e-4 * np.exp(-time / 80000.0))


def concentration(radius: Floats, time: float) -> Floats:
    """Return the free concentration [mol/m^3] at a distance from the center of the tumor [mm]."""
    leaky = 1 / (1 + np.exp(-(radius - 0.5 * RADIUS) / 0.8)) * (0.25 + 0.75 / (1 + np.exp((radius - RADIUS) / 1.5)))
    rise = np.exp(-time / 60000.0) - np.exp(-time / 3000.0)
    return np.asarray(6e-4 * leaky * rise)


def _write_fields(path: Path, fake: Fake, points: Floats, cells: Ints, region: Ints) -> None:
    """Write all times into one temporal VTKHDF file."""
    import h5py

    radius = np.linalg.norm(points - CENTER, axis=1)
    steady = {"pressure": pressure(radius), "distance.tumor": radius - RADIUS}
    if fake.core:
        steady["distance.necrosis"] = radius - 0.45 * RADIUS
    middle = points[cells].mean(axis=1)
    with h5py.File(path, "w") as file:
        root = file.create_group("VTKHDF")
        root.attrs["Version"] = [2, 3]
        root.attrs.create("Type", b"UnstructuredGrid", dtype=h5py.string_dtype("ascii", 16))
        counts = {"NumberOfPoints": len(points), "NumberOfCells": len(cells), "NumberOfConnectivityIds": cells.size}
        for name, count in counts.items():
            root[name] = np.array([count])
        root["Points"], root["Connectivity"] = points, cells.ravel()
        root["Offsets"], root["Types"] = np.arange(0, cells.size + 1, 4), np.full(len(cells), 10, "u1")
        steps = root.create_group("Steps")
        n = len(fake.times)
        steps.attrs["NSteps"] = n
        steps["Values"], steps["NumberOfParts"] = np.array(fake.times), np.ones(n, dtype=np.int64)
        for name in ("PartOffsets", "PointOffsets"):
            steps[name] = np.zeros(n, dtype=np.int64)
        for name in ("CellOffsets", "ConnectivityIdOffsets"):
            steps[name] = np.zeros((n, 1), dtype=np.int64)
        for group, name, values in (
            *(("PointData", name, [values]) for name, values in steady.items()),
            *((("PointData", "concentration", [concentration(radius, t) for t in fake.times]),) if fake.drug else ()),
            ("CellData", "velocity", [_velocity(middle)]),
            ("CellData", "region", [region.astype(np.int32)]),
        ):
            root.require_group(group)[name] = np.concatenate(values)
            moves = np.arange(n) * len(values[0]) if len(values) > 1 else np.zeros(n, dtype=np.int64)
            steps.require_group(f"{group}Offsets")[name] = moves


def _write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([f"{x:.12e}" if isinstance(x, float) else x for x in row] for row in rows)


def _write_tables(folder: Path, fake: Fake, volumes: Sequence[float]) -> None:
    """Write quantities, regions, balance and plasma, at five rows between two field times."""
    times = [0.0]
    if len(fake.times) > 1:
        parts = [np.linspace(a, b, 9)[1:] for a, b in zip(fake.times, fake.times[1:], strict=False)]
        times = [0.0, 60.0, 300.0, 900.0, *np.concatenate(parts).tolist()]
    typical = {"breast": 20.0, "tumor": 0.85 * RADIUS, "necrosis": 0.2 * RADIUS}
    header = ["t [s]", "region", "pressure mean [Pa]", "pressure max [Pa]", "speed mean [mm/s]"]
    names = ["mean [mol/m^3]", "min [mol/m^3]", "max [mol/m^3]"]
    header += [f"concentration {n}" for n in names] + ["amount [nmol]"] if fake.drug else []
    rows: list[list[object]] = []
    quantities: list[list[object]] = []
    for t in times:
        means = {r: float(concentration(np.array([typical[r]]), t)[0]) for r in fake.regions}
        for name, volume in zip(fake.regions, volumes, strict=True):
            p = float(pressure(np.array([typical[name]]))[0])
            row: list[object] = [t, name, p, 1.2 * p, 2e-5]
            rows.append(
                row
                + ([means[name], 0.2 * means[name], 1.5 * means[name], 0.3 * means[name] * volume] if fake.drug else [])
            )
        quantities.append([t, 1480.0, 0.031, *([means["tumor"], means["tumor"] * t] if fake.drug else [])])
    _write_table(folder / "regions.csv", header, rows)
    keys = ["core [Pa]", "rim [mm^3/s]", *(["dose [mol/m^3]", "seen [mol*s/m^3]"] if fake.drug else [])]
    _write_table(folder / "quantities.csv", ["t [s]", *keys], quantities)
    _write_table(folder / "balance.csv", _BALANCE, _balance(fake, times, volumes))
    if fake.drug:
        _write_table(folder / "plasma.csv", ["t [s]", "concentration [mol/m^3]"], [[t, plasma(t)] for t in times])


_BALANCE = ["t [s]", "physics", "region", "surface", "in", "out", "made", "lost", "stored", "residual", "unit"]


def _balance(fake: Fake, times: Sequence[float], volumes: Sequence[float]) -> list[list[object]]:
    """Return rows of the balance that add up."""
    rows: list[list[object]] = []
    before = 0.0
    for t in times:
        efflux, lymph = 0.05, 0.02
        made = {"breast": 0.03, "tumor": 0.04, "necrosis": 0.0}
        total = [0.0, efflux, sum(made[r] for r in fake.regions), lymph, 0.0, 1.3e-13, "mm^3/s"]
        rows.append([t, "flow", "all", "", *total])
        rows.append([t, "flow", "all", "breast|outside", 0.0, efflux, "", "", "", "", "mm^3/s"])
        rows.append([t, "flow", "breast", "", 0.04, efflux, 0.03, lymph, 0.0, 1.1e-13, "mm^3/s"])
        rows.append([t, "flow", "breast", "breast|outside", 0.0, efflux, "", "", "", "", "mm^3/s"])
        rows.append([t, "flow", "breast", "breast|tumor", 0.04, 0.0, "", "", "", "", "mm^3/s"])
        rows.append([t, "flow", "tumor", "", 0.0, 0.04, 0.04, 0.0, 0.0, 1.0e-14, "mm^3/s"])
        rows.append([t, "flow", "tumor", "breast|tumor", 0.0, 0.04, "", "", "", "", "mm^3/s"])
        if fake.drug and t > 0:
            rows += _drug_rows(before, t)
        before = t
    return rows


def _drug_rows(before: float, after: float) -> list[list[object]]:
    """Return the drug's rows of a step: rates from amounts that are known in closed form."""

    def rate(amount: Callable[[float], float]) -> float:
        return (amount(after) - amount(before)) / (after - before)

    stored = rate(lambda t: 900.0 * float(np.exp(-t / 60000.0) - np.exp(-t / 3000.0)))
    lost = rate(lambda t: 700.0 * float(1 - np.exp(-t / 50000.0)))
    out = rate(lambda t: 260.0 * float(1 - np.exp(-t / 70000.0)))
    gain = stored + lost + out
    inside = ["drug", "tumor", "", 0.0, 0.0, 0.2 * gain, 0.2 * lost, 0.2 * (gain - lost), 1e-13 * gain, "nmol/s"]
    around = ["drug", "breast", "", 0.0, out, 0.8 * gain, 0.8 * lost, 0.8 * (gain - lost) - out, 1e-13 * gain, "nmol/s"]
    total = ["drug", "all", "", 0.0, out, gain, lost, stored, 2e-13 * gain, "nmol/s"]
    surface = ["drug", "breast", "breast|outside", 0.0, out, "", "", "", "", "nmol/s"]
    return [[after, *row] for row in (total, inside, around, surface)]


def _run_json(
    fake: Fake, counts: Sequence[int], volumes: Sequence[float], sizes: Mapping[str, int]
) -> dict[str, object]:
    """Return run.json."""
    fields = {
        "pressure": {"unit": "Pa", "label": "interstitial pressure", "on": "points"},
        "velocity": {"unit": "mm/s", "label": "Darcy velocity", "on": "cells"},
        "region": {"unit": "", "label": "region", "on": "cells"},
    }
    flow = "∇·v = Jv - Jl,   v = -K ∇p\nJv = Lp S/V (pv - p - σ (πv - πi)),   Jl = LpL SL/V (p - pL)"
    physics: list[dict[str, object]] = [{"name": "flow", "unknowns": sizes["points"], "equations": flow}]
    solver = {"solves": 1, "iterations_max": 9, "iterations_total": 9, "residual_max": 3e-12, "tolerance": 1e-11}
    solvers: dict[str, dict[str, object]] = {"flow": {**solver, "method": "conjugate gradients, algebraic multigrid"}}
    if fake.drug:
        fields["concentration"] = {"unit": "mol/m^3", "label": "free concentration", "on": "points"}
        drug = "∂(n_a c)/∂t + ∇·(R v c - n_a D ∇c) = exchange with plasma - lymph - decay"
        physics.append({"name": "drug", "unknowns": sizes["points"], "equations": drug})
        solvers["drug"] = {**solver, "solves": 61, "iterations_total": 402, "method": "GMRES, ILU"}
    surfaces = [
        {"name": "breast|outside", "kind": "outside", "area": 14210.3},
        {"name": "breast|cut", "kind": "cut", "area": 812.5},
        {"name": "breast|tumor", "kind": "interface", "area": 1012.9},
    ]
    keys = {
        "baxter1989": "Baxter and Jain (1989). Microvascular Research 37:77-104. doi:10.1016/0026-2862(89)90074-5",
        "zhan2013": "Zhan and Xu (2013). Journal of Drug Delivery:172529. doi:10.1155/2013/172529",
    }
    return {
        "format": 1, "status": fake.status, "reason": "the drug solver stopped" if fake.status == "failed" else "",
        "name": "breast-doxorubicin", "title": "Doxorubicin in a breast with its tumor bed",
        "case_hash": "3f9a21c0" * 8,
        "version": "0.1.0", "started": "2026-01-14T10:02:11+00:00", "finished": "2026-01-14T10:04:02+00:00",
        "wall_seconds": 111.2, "ranks": 2, "versions": {"turgor": "0.1.0", "dolfinx": "0.11.0", "petsc": "3.25.1"},
        "regions": list(fake.regions), "tumor": [r for r in fake.regions if r != "breast"], "surfaces": surfaces,
        "region_geometry": [
            {"name": n, "cells": c, "volume": v} for n, c, v in zip(fake.regions, counts, volumes, strict=True)
        ],
        "side": {"tumor": "right, 12 mm from the middle of the organ"}, "fields": fields,
        "mesh": {"file": "breast.h5", "hash": "ab12" * 16, **sizes}, "physics": physics, "solvers": solvers,
        "verification": {
            "h_alpha": {"breast|tumor": 0.41}, "cell_peclet_max": 3.2, "cell_imbalance_max": 2.2e-9,
            "balance_residual_max": {"flow": 1.3e-13, **({"drug": 2e-16} if fake.drug else {})},
        },
        "stages": {"read": 0.8, "flow": 12.1, "drug": 92.0, "write": 4.4}, "citations": list(keys), "references": keys,
        "warnings": list(fake.warnings), "reproduce": "turgor run case.toml -n 2",
    }  # fmt: skip


def _value(value: str, number: float, unit: str, symbol: str, label: str, source: str) -> dict[str, object]:
    reason = "no measurement in this tissue; the value of muscle" if source == "assumed" else ""
    return {
        "value": value,
        "number": number,
        "unit": unit,
        "symbol": symbol,
        "label": label,
        "source": source,
        "reason": reason,
    }


def _resolved(fake: Fake) -> dict[str, object]:
    """Return resolved.json."""
    flow = {
        "hydraulic_conductivity": _value(
            "4.13e-8 cm^2/(mmHg*s)", 3.1e-8, "mm^2/(Pa*s)", "K", "hydraulic conductivity", "baxter1989"
        ),
        "vascular_pressure": _value("15.6 mmHg", 2079.8, "Pa", "pv", "pressure in the vessels", "case"),
        "lymphatic_conductance": _value("0 1/(Pa*s)", 0.0, "1/(Pa*s)", "LpL SL/V", "lymphatic conductance", "default"),
    }  # fmt: skip
    drug = {"diffusivity": _value("1.58e-10 m^2/s", 1.58e-4, "mm^2/s", "D", "diffusivity", "zhan2013")}
    drug["vascular_permeability"] = _value("3e-6 m/s", 3e-3, "mm/s", "P", "permeability of the vessel wall", "assumed")
    values = {**flow, **(drug if fake.drug else {})}
    outer = [
        {"surface": "breast|outside", "kind": "outside", "area": 14210.3, "physics": "flow",
         "condition": "pressure = 0 mmHg"},
        {"surface": "breast|cut", "kind": "cut", "area": 812.5, "physics": "flow", "condition": "sealed, not named"},
    ]  # fmt: skip
    more = [{**row, "physics": "drug", "condition": "sealed, not named"} for row in outer]
    case = {"name": "breast-doxorubicin", "time": {"end": "24 h", "tolerance": 1e-3}, "physics": {"flow": {}}}
    resolved: dict[str, object] = {
        "format": 1, "case": case, "regions": {r: values for r in fake.regions}, "conditions": outer,
    }  # fmt: skip
    if fake.drug:
        resolved |= {
            "conditions": outer + more,
            "agent": {
                "name": "doxorubicin", "title": "Doxorubicin", "species": "human",
                "molar_mass": _value("543.5 g/mol", 5.435e-7, "g/nmol", "M", "molar mass", "zhan2013"),
                "unbound_fraction": _value("0.25", 0.25, "", "f_u", "unbound fraction in plasma", "zhan2013"),
            },
            "plasma": {"kind": "bolus", "dose": "50 mg/m^2", "words": "50 mg/m^2 as a bolus at t = 0"},
        }  # fmt: skip
    return resolved


_CASE = """name  = "breast-doxorubicin"
title = "Doxorubicin in a breast with its tumor bed"

[mesh]
file = "breast.msh"
size = { tumor = "2 mm", breast = "6 mm" }   # <target> edge length & more

[materials]
breast = { like = "breast" }
tumor  = { like = "tumor" }

[physics.flow]
conditions = [ { on = ["*|outside", "*|cut"], pressure = "0 mmHg" } ]

[physics.drug]
agent  = "doxorubicin"
plasma = { dose = "50 mg/m^2", kind = "bolus" }

[time]
end = "24 h"
"""

_BIB = """@article{baxter1989,
  author = {Baxter, L. T. and Jain, R. K.},
  title = {Transport of fluid and macromolecules in tumors. I},
  year = {1989},
}
"""
