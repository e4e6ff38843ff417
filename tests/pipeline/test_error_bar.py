"""`turgor run --error-bar`: a second mesh tells how far off the numbers of the first are."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

from support.bench import COMM, tissue  # isort: skip  (first: it loads MPI)

import meshio
import numpy as np
import pytest
from numpy.typing import NDArray
from support.closed_forms import of_the_demo
from support.meshes import balls, spheres, write

from turgor import errorbar
from turgor.case import Case
from turgor.fem.study import solve
from turgor.materials.errors import CaseError
from turgor.postprocess import Run

Array = NDArray[np.float64]

CASE = """
name = "ball"

[mesh]
file = "ball.msh"
size = { tumor = "0.9 mm", organ = "2 mm" }

[[mesh.surfaces]]
file = "organ.ply"
unit = "mm"
region = "organ"

[[mesh.surfaces]]
file = "tumor.ply"
unit = "mm"
region = "tumor"

[materials]
tumor = { like = "tumor", vessel_surface_density = "5 1/cm" }
organ = { like = "normal tissue" }

[physics.flow]
conditions = [{ on = "organ|outside", pressure = "-2 mmHg" }]

[output.measures]
mean = { of = "pressure", in = "tumor", as = "mean" }
rim = { of = "velocity", through = "tumor|organ" }
"""


def turgor(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line as its own program."""
    command = [sys.executable, "-P", "-m", "turgor", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a case of a ball in a ball."""
    folder = tmp_path_factory.mktemp("bars")
    shape = spheres(3, 20)[-1]
    for name, radius in (("organ", 6.0), ("tumor", 2.5)):
        meshio.Mesh(radius * shape.points, [("triangle", shape.triangles)]).write(folder / f"{name}.ply")
    (folder / "ball.toml").write_text(CASE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> str:
    """Return what a run with error bars tells."""
    done = turgor("run", "ball.toml", "--error-bar", cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def run(folder: Path, told: str) -> Path:
    """Return its run folder."""
    (found,) = (folder / "results").iterdir()
    return found


def test_every_number_is_told_with_its_bar(told: str, run: Path) -> None:
    said = json.loads((run / "errorbar.json").read_text(encoding="utf-8"))
    assert said["cells"][0] > 2 * said["cells"][1], "an eighth, but for the shape of the surfaces"
    names = [entry["name"] for entry in (*said["measures"], *said["tumors"])]
    assert names[:2] == ["mean", "rim"]
    assert {"tumor.plateau", "tumor.mean", "tumor.efflux"} <= set(names)
    for entry in (*said["measures"], *said["tumors"]):
        assert f"  {entry['name']} = " in told
        expected = abs(entry["value"] - entry["coarse"]) / (entry["ratio"] ** entry["order"] - 1)
        assert entry["reason"] if entry["bar"] is None else entry["bar"] == pytest.approx(expected)
    assert {entry["order"] for entry in said["measures"]} == {1, 2}
    assert " ± " in told


def test_the_report_shows_the_bar_beside_the_number(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    assert '<th class="number">error</th>' in page
    assert "± " in page
    assert "with the theoretical order, 2 for pressures and 1 for all else" in page


def test_the_coarse_mesh_and_run_are_kept_and_nothing_is_done_twice(folder: Path, run: Path) -> None:
    assert (folder / "ball-coarse.h5").is_file()
    (coarse,) = (run / "coarse").iterdir()
    assert json.loads((coarse / "run.json").read_text(encoding="utf-8"))["status"] == "finished"
    files = [path for path in (*run.rglob("*"), *folder.glob("*.h5")) if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    again = turgor("run", "ball.toml", "--error-bar", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert " ± " in again.stdout
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_a_mesh_of_ones_own_is_refused_and_so_is_a_case_without_numbers(folder: Path) -> None:
    case = Case.read(folder / "ball.toml")
    own = {"file": "ball.msh"}
    with pytest.raises(CaseError, match="the mesh is your own"):
        errorbar.refuse(case.with_(mesh=own))
    words = CASE.partition("[output.measures]")[0].replace('like = "tumor"', 'like = "normal tissue"')
    bare = Case.of(tomllib.loads(words.replace("tumor = ", "lobe = ").replace('"tumor"', '"lobe"')), folder=folder)
    with pytest.raises(CaseError, match="no tumor and no measure"):
        errorbar.refuse(bare)


def isolated(folder: Path, layers: int, divisions: int) -> Run:
    """Return a solved run of a tumor of 2 mm with p = 0 at its rim and h α = 0.9 or 0.45 there."""
    place = folder / f"layers-{layers}"
    place.mkdir()
    write(balls([np.linspace(0, 2, layers + 1)[1:]], ("tumor",), divisions), place)
    words = {
        "name": "ball",
        "mesh": {"file": "mesh.msh"},
        "materials": {"tumor": tissue(3e-8, filtration=3e-8 * 1.5**2, pressure=1400.0)},
        "physics": {"flow": {"conditions": [{"on": "tumor|outside", "pressure": "0 Pa"}]}},
        "output": {
            "measures": {
                "mean": {"of": "pressure", "in": "tumor", "as": "mean"},
                "leaks": {"of": "velocity", "through": "tumor|outside"},
            }
        },
    }
    return Run(solve(Case.of(words, folder=place), comm=COMM, into=place / "runs"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """Return runs on a fine and on a coarse mesh of a sphere."""
    folder = tmp_path_factory.mktemp("spheres")
    return isolated(folder, 10, 3), isolated(folder, 5, 2)


def test_the_true_error_lies_within_twice_the_bar(pair: tuple[Run, Run], folder: Path) -> None:
    forms = of_the_demo()
    form = forms.isolated(forms.Tissue(3e-8, 3e-8 * 1.5**2, 1400.0), 2.0)
    reach = 3.0
    mean = 1400.0 * (1 - 3 * (reach / np.tanh(reach) - 1) / reach**2)  # Baxter and Jain (1989)
    exact = {"mean": mean, "leaks": form.flux, "tumor.efflux": form.flux, "tumor.median": form.rim_velocity}
    measures = Case.read(folder / "ball.toml").output.measures
    keys = {"mean": measures["mean"], "leaks": measures["rim"].model_copy(update={"through": "tumor|outside"})}
    bars = {bar.name: bar for bar in (*errorbar.measured(*pair, keys), *errorbar.reported(*pair))}
    for name, value in exact.items():
        bar = bars[name].bar
        assert bar is not None, bars[name].reason
        assert abs(bars[name].value - value) <= 2 * bar, name
        assert bar < 0.3 * value, "a bar that tells something"


def test_where_the_coarse_mesh_shows_no_layer_a_flux_has_no_bar_and_a_pressure_has(pair: tuple[Run, Run]) -> None:
    fine, coarse = pair
    blind = coarse.manifest.verification.model_copy(update={"h_alpha": {"tumor|outside": 1.3}})
    coarse.__dict__["manifest"] = coarse.manifest.model_copy(update={"verification": blind})
    bars = {bar.name: bar for bar in errorbar.reported(fine, coarse)}
    assert bars["tumor.efflux"].bar is None
    assert "h α = 1.3 > 1 at tumor|outside" in bars["tumor.efflux"].reason
    assert bars["tumor.plateau"].bar is not None
