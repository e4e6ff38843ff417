"""The same case on one, two and three ranks gives the same numbers, with every kind of term in it."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.meshes import Array, Ints, box, write

from turgor.launch import environment, mpirun

AGREE = 1e-8
"""Relative difference allowed; the linear solvers stop at residuals of 1e-12 and 1e-13."""

CASE = """
name = "three"

[mesh]
file = "three.msh"

[patient]
body_surface = "1.8 m^2"

[materials]
core = { like = "tumor", vessel_conductivity = "0 mm/(Pa*s)" }
tumor = { like = "tumor" }
normal = { like = "normal tissue", lymphatic_conductance = "2e-9 1/(Pa*s)", lymphatic_pressure = "400 Pa" }

[physics.flow]
conditions = [
    { on = "*|x-", pressure = { times = ["0 s", "20 min"], values = ["6 mmHg", "2 mmHg"] } },
    { on = "*|x+", exchange = { coefficient = "1e-8 mm/(Pa*s)", to = "0 mmHg" } },
    { on = "*|y+", inflow = "1e-6 mm/s" },
]
sources = [{ at = ["2.5 mm", "2 mm", "2 mm"], radius = "0.7 mm", rate = "1e-4 mm^3/s", duration = "300 s" }]

[physics.drug]
agent = "doxorubicin"
plasma = { dose = "50 mg/m^2", kind = "infusion", duration = "5 min" }
conditions = [
    { on = "*|z-", concentration = "1e-4 mol/m^3" },
    { on = "*|z+", exchange = { coefficient = "1e-5 mm/s", to = "2e-4 mol/m^3" } },
]

[time]
end = "20 min"
tolerance = 0.1

[output]
every = "20 min"

[output.measures]
rim = { of = "velocity", through = "tumor|normal" }
leaves = { of = "drug", through = "normal|tumor" }
core = { of = "drug", through = "core|tumor" }
mean = { of = "concentration", in = "tumor", as = "mean" }
total = { of = "concentration.total", in = "normal", as = "mean" }
seen = { of = "concentration", in = "core", as = "mean", over = "AUC" }
most = { of = "concentration", in = "tumor", as = "max", over = "Cmax" }
middle = { of = "pressure", at = ["2 mm", "2 mm", "2 mm"] }
above = { of = "concentration", in = "tumor", as = "volume_above", value = "2e-4 mol/m^3" }
"""


def region(centers: Array) -> Ints:
    """Return core, tumor or normal: nested balls of 0.9 and 1.6 mm that touch no side."""
    r = np.linalg.norm(centers - np.array([2.3, 2.0, 1.9]), axis=1)
    return np.asarray(np.searchsorted([0.9, 1.6], r), dtype=np.int64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the case, its mesh, and the run folders on 1, 2 and 3 ranks."""
    folder = tmp_path_factory.mktemp("equality")
    (folder / "three.toml").write_text(CASE, encoding="utf-8")
    write(box(3 * [np.linspace(0, 4, 9)], region, ("core", "tumor", "normal"), sides=True), folder, "three")
    for ranks in (1, 2, 3):
        words = ["-P", "-m", "turgor", "solve", "three.toml", "--into", f"on {ranks}"]
        done = subprocess.run(
            [mpirun(), "-n", str(ranks), sys.executable, *words],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return folder


def rows(folder: Path, ranks: int, table: str) -> list[dict[str, str]]:
    """Return the rows of a table of a run."""
    (path,) = folder.glob(f"on {ranks}/*/{table}")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


WORDS = ("physics", "region", "surface", "unit")
TERMS = ("in", "out", "made", "lost", "stored", "residual")
CANCEL = 1e-3
"""A net flux below this part of its largest value in the run is about to change its sign; its terms do not vanish."""


def largest(rows: list[dict[str, str]], key: str, place: tuple[str, ...]) -> float:
    """Return the largest magnitude in a column, or among all terms of the balance, in the rows of one place."""
    here = [row for row in rows if tuple(row.get(word, "") for word in WORDS) == place]
    return max(abs(float(row[k])) for row in here for k in (TERMS if key in TERMS else (key,)) if row[k])


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("table", ["quantities.csv", "balance.csv", "regions.csv", "plasma.csv"])
def test_every_number_agrees(table: str, ranks: int, folder: Path) -> None:
    one, many = rows(folder, 1, table), rows(folder, ranks, table)
    assert len(one) == len(many) > 20
    peaks: dict[tuple[str, tuple[str, ...]], float] = {}
    for left, right in zip(one, many, strict=True):
        place = tuple(left.get(word, "") for word in WORDS)
        assert left.keys() == right.keys()
        assert place == tuple(right.get(word, "") for word in WORDS)
        terms = max((abs(float(left[key])) for key in TERMS if left.get(key)), default=0.0)
        for key, text in left.items():
            if key in WORDS or not text:
                continue
            if (key, place) not in peaks:
                peaks[key, place] = largest(one, key, place)
            a, b = float(text), float(right[key])
            scale = terms if key == "residual" else max(abs(a), CANCEL * peaks[key, place])
            assert abs(a - b) <= AGREE * scale, (key, a, b, left)


def test_the_case_has_what_could_differ(folder: Path) -> None:
    found = rows(folder, 1, "balance.csv")
    surfaces = {row["surface"] for row in found if row["physics"] == "drug"}
    assert {"core|tumor", "tumor|normal", "normal|z-", "normal|z+", "normal|x+"} <= surfaces
    last = {row["region"]: row for row in found[-40:] if row["physics"] == "drug" and not row["surface"]}
    assert all(float(last[name][term]) > 0 for name in ("tumor", "normal") for term in ("made", "lost"))
    # Lymph of the normal tissue is on in some cells and off in others: its pressure is above pL in between.
    assert float(last["core"]["made"]) >= 0


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("table", ["fluid.csv", "surfaces.csv", "rim.csv", "profile.csv", "fate.csv"])
def test_what_the_flow_reports_agrees(table: str, ranks: int, folder: Path) -> None:
    one, many = rows(folder, 1, table), rows(folder, ranks, table)
    assert len(one) == len(many) > 1
    for left, right in zip(one, many, strict=True):
        # Net rates are differences, which agree to 1e-8 of the largest term of their row.
        rates = {key: float(text) for key, text in left.items() if key.endswith("mm^3/s]")}
        for key, text in left.items():
            if "[" not in key and key != "share":
                assert text == right[key]
            elif text or right[key]:
                a, b = float(text), float(right[key])
                scale = max(map(abs, rates.values())) if key in rates else abs(a)
                assert abs(a - b) <= AGREE * scale, (key, a, b, left)
