"""What every flow reports of itself: the tumor's rim, where its fluid goes, and a ledger that others can check."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.bench import COMM, MMHG, Bench, bench, tissue  # isort: skip  (first: it loads MPI)

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from support.closed_forms import of_the_demo
from support.meshes import Ints, balls, box, write

from turgor.case import Case
from turgor.fem.physics.flow.bodies import bodies_of
from turgor.fem.physics.flow.report import Told
from turgor.fem.study import solve
from turgor.postprocess import Run
from turgor.postprocess.rim import fluid_table, surface_table, tumor_tables

Array = NDArray[np.float64]


def layers(start: float, end: float, n: int) -> Array:
    """Return the ends of n layers."""
    return np.linspace(start, end, n + 1)[1:]


def told(ready: Bench) -> Told:
    """Return what the flow tells of its only tumor."""
    (found,) = ready.flow.report.tumors(ready.flow.told())
    return found


def shares(found: Told) -> dict[tuple[str, str], float]:
    """Return the shares of the efflux by way and place."""
    return {(ending.way, ending.place): ending.share for ending in found.endings}


def around(folder: Path, host: Mapping[str, object], flow: Mapping[str, object], **words: object) -> Bench:
    """Return a tumor of 1 mm in a shell of 1 mm of another tissue, solved."""
    mesh = balls([layers(0, 1, 4), layers(1, 2, 4)], ("tumor", "normal"), 2)
    materials = {"tumor": tissue(3e-8, filtration=4e-7, pressure=1500.0, **words), "normal": host}
    return bench(folder, mesh, materials, {"flow": dict(flow)}).start()


HELD = {"conditions": [{"on": "normal|outside", "pressure": "0 Pa"}]}


@pytest.fixture(scope="module")
def sphere(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Any]:
    """Return an isolated tumor with its closed form; a tenth of it, cut out along planes that nothing crosses."""
    forms = of_the_demo()
    form = forms.isolated(forms.Tissue(3e-8, 3e-8 * 2.5**2, 1400.0), 2.0)
    mesh = balls([2 - np.geomspace(2.1, 0.1, 17)[1:] + 0.1], ("tumor",), 4, faces=2)
    materials = {"tumor": tissue(3e-8, filtration=3e-8 * 2.5**2, pressure=1400.0)}
    flow = {"conditions": [{"on": "tumor|outside", "pressure": "0 Pa"}]}
    ready = bench(tmp_path_factory.mktemp("sphere"), mesh, materials, {"flow": flow}).start()
    return ready, form


def test_plateau_and_rim_of_a_sphere_are_those_of_its_closed_form(sphere: tuple[Bench, Any]) -> None:
    ready, form = sphere
    rim = told(ready).rim
    r = np.linspace(1e-6, 2.0 * 0.1 ** (1 / 3), 4001)
    # Cells are layers, so that the deepest tenth ends within one of them: 0.5 % of the plateau.
    exact = float((form.pressure(r) * r**2).sum() / (r**2).sum())
    assert rim.plateau == pytest.approx(exact, rel=5e-3)
    assert rim.surface == pytest.approx(0.0, abs=1e-9)
    # The facets stand off the sphere by less than 0.5 %, and h α is 0.3 at the rim.
    assert rim.mean == pytest.approx(form.rim_velocity, rel=0.02)
    assert rim.median == pytest.approx(form.rim_velocity, rel=0.02)
    assert rim.low <= rim.median <= rim.high
    assert rim.mean * rim.area == pytest.approx(ready.flow.flux_through("tumor|outside"), rel=1e-12)


def test_the_rim_depths_are_where_the_closed_form_reaches_its_parts_of_the_plateau(sphere: tuple[Bench, Any]) -> None:
    ready, form = sphere
    rim = told(ready).rim
    r = np.linspace(1e-6, 2.0, 20001)
    for depth, share in ((rim.depth50, 0.5), (rim.depth90, 0.9), (rim.depth95, 0.95)):
        exact = 2.0 - float(np.interp(-share * rim.plateau, -form.pressure(r), r))
        assert depth == pytest.approx(exact, abs=0.02), "a fifth of the cells' width"


def test_the_profile_holds_the_whole_volume_and_falls_outward(tmp_path: Path) -> None:
    ready = around(tmp_path, tissue(3e-8), HELD)
    found = told(ready)
    volumes = [layer.volume for layer in found.layers]
    # Layers with too few points, and a corner of the mesh beyond the last one, are left out.
    assert sum(volumes) == pytest.approx(ready.domain.sum(ready.domain.volumes), rel=0.02)
    means = [layer.mean for layer in found.layers]
    assert means == sorted(means, reverse=True)
    assert all(layer.low <= layer.mean <= layer.high for layer in found.layers)


def test_fluid_that_nothing_drains_leaves_through_the_outer_surface(tmp_path: Path) -> None:
    found = told(around(tmp_path, tissue(3e-8), HELD))
    assert shares(found) == {("through", "normal|outside"): pytest.approx(1.0, rel=1e-9)}
    assert found.rim.efflux > 0


def test_lymph_and_vessels_share_the_fluid_as_their_conductances(tmp_path: Path) -> None:
    # Both take fluid in proportion to p - 0 Pa, in every cell, so that the shares are A/(A + L) and L/(A + L).
    host = tissue(3e-8, filtration=1e-7, pressure=0.0, drainage=3e-7, lymph_pressure=0.0)
    found = shares(told(around(tmp_path, host, {})))
    assert found[("reabsorbed", "normal")] == pytest.approx(0.25, rel=1e-8)
    assert found[("lymph", "normal")] == pytest.approx(0.75, rel=1e-8)


def test_fluid_that_meets_fresh_fluid_is_diluted_and_the_shares_add_up(tmp_path: Path) -> None:
    # Vessels of the host give fluid where the pressure is below 300 Pa, and take it back above.
    host = tissue(3e-8, filtration=1e-7, pressure=300.0, drainage=3e-7, lymph_pressure=0.0)
    ready = around(tmp_path, host, HELD)
    found = told(ready)
    assert sum(shares(found).values()) == pytest.approx(1.0, rel=1e-8)
    flux, domain = ready.flow.flux, ready.domain
    lymph = domain.sum(np.maximum(flux.lymph, 0.0) * domain.volumes * ~found.body.inside)
    rate = next(ending.rate for ending in found.endings if ending.way == "lymph")
    assert 0 < rate < lymph, "lymph drains fluid of the host, too"


def test_a_pressure_held_at_the_rim_takes_all(tmp_path: Path) -> None:
    words = {"conditions": [{"on": "tumor|normal", "pressure": "0 Pa"}, {"on": "normal|outside", "pressure": "0 Pa"}]}
    found = told(around(tmp_path, tissue(3e-8), words))
    assert shares(found) == {("through", "tumor|normal"): pytest.approx(1.0, rel=1e-9)}


def region(centers: Array) -> Ints:
    """Return normal, and two tumors of which the first has a core: cubes."""
    middles, halves = ((1.5, 1.5, 1.5), (4.5, 1.5, 1.5), (1.5, 1.5, 1.5)), (1.0, 0.5, 0.5)
    found = np.zeros(len(centers), dtype=np.int64)
    for number, (middle, half) in enumerate(zip(middles, halves, strict=True), start=1):
        found[np.abs(centers - np.array(middle)).max(axis=1) < half] = number
    return found


def test_a_tumor_has_its_core_inside_and_another_one_is_another(tmp_path: Path) -> None:
    ticks = [np.linspace(0, 6, 13), np.linspace(0, 3, 7), np.linspace(0, 3, 7)]
    names = ("normal", "tumor", "lesion", "core")
    materials = {name: tissue(3e-8, filtration=1e-7, pressure=900.0) for name in names}
    ready = bench(tmp_path, box(ticks, region, names), materials, {"flow": {}})
    first, second = bodies_of(ready.domain, ("tumor", "lesion"), ready.flow.flux.sealed)
    assert (first.regions, second.regions) == (("tumor", "core"), ("lesion",))
    assert first.depth == pytest.approx(1.0), "half a cube of 2 mm, as if the core had no surface"
    assert {patch.surface.name for patch in first.patches} == {"normal|tumor"}
    nodes = ready.domain.space.tabulate_dof_coordinates()
    # The distance from a cube of 2 mm round (1.5, 1.5, 1.5).
    off = np.abs(nodes - 1.5) - 1.0
    exact = np.where(off.max(axis=1) < 0, off.max(axis=1), np.linalg.norm(np.maximum(off, 0), axis=1))
    assert first.distance == pytest.approx(exact, abs=1e-12)


def said(ready: Bench, words: str) -> list[str]:
    """Return the warnings that hold some words."""
    return [sentence for sentence in ready.flow.warnings() if words in sentence]


def test_reabsorption_of_more_than_half_is_told(tmp_path: Path) -> None:
    most = tissue(3e-8, filtration=3e-7, pressure=0.0, drainage=1e-7)
    least = tissue(3e-8, filtration=1e-7, pressure=0.0, drainage=3e-7)
    assert said(around(tmp_path, most, {}), "75 % of the fluid that leaves tumor is taken back by vessels")
    assert not said(around(tmp_path, least, {}), "taken back")


def test_tissue_with_vessels_and_no_drain_is_told(tmp_path: Path) -> None:
    leaky = tissue(3e-8, filtration=1e-7, pressure=300.0)
    assert said(around(tmp_path, leaky, {}), "normal has vessels but no drain")
    assert not said(around(tmp_path, leaky, HELD), "no drain")
    drained = {**leaky, "lymphatic_conductance": "1e-7 1/(Pa*s)"}
    assert not said(around(tmp_path, drained, {}), "no drain")


def test_a_far_pressure_that_was_never_measured_is_told_with_its_range(tmp_path: Path) -> None:
    for far, expected in ((6.5, True), (-2.0, False), (-8.0, True)):
        host = tissue(1e-9, filtration=4e-6, pressure=far * MMHG, drainage=1e-12, lymph_pressure=far * MMHG)
        found = said(around(tmp_path, host, {}), "the pressure of normal farther than 0.5")
        assert bool(found) == expected, far
        assert all(f"is {far:g} mmHg" in sentence and "Gutmann 1992" in sentence for sentence in found)


def test_the_outer_condition_stands_beside_the_velocity(tmp_path: Path) -> None:
    ready = around(tmp_path, tissue(3e-8), HELD)
    (tumor,) = ready.flow.findings()["tumors"]
    assert tumor["condition"] == "normal solved around it, with normal|outside: pressure = 0 Pa"


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    """Return the rows of a table."""
    with (folder / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


LEDGER = {
    "mesh": {"file": "mesh.msh"},
    "materials": {
        "core": {"like": "necrotic core"},
        "tumor": {"like": "tumor"},
        "normal": {"like": "normal tissue", "lymphatic_conductance": "2e-9 1/(Pa*s)", "lymphatic_pressure": "400 Pa"},
    },
    "physics": {
        "flow": {
            "conditions": [
                {"on": "*|x-", "pressure": "6 mmHg"},
                {"on": "*|x+", "exchange": {"coefficient": "1e-8 mm/(Pa*s)", "to": "0 mmHg"}},
                {"on": "*|y+", "inflow": "1e-6 mm/s"},
            ],
            "sources": [
                {"at": ["2.5 mm", "2 mm", "2 mm"], "radius": "0.7 mm", "rate": "1e-4 mm^3/s"},
                {"at": ["3.5 mm", "3 mm", "3 mm"], "radius": "0.7 mm", "rate": "-3e-5 mm^3/s"},
            ],
        }
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run folder of a case with every way in which fluid comes and goes."""
    folder = tmp_path_factory.mktemp("ledger")

    def nested(centers: Array) -> Ints:
        r = np.linalg.norm(centers - np.array([2.3, 2.0, 1.9]), axis=1)
        return np.asarray(np.searchsorted([0.9, 1.6], r), dtype=np.int64)

    write(box(3 * [np.linspace(0, 4, 9)], nested, ("core", "tumor", "normal"), sides=True), folder)
    return solve(Case.of({"name": "ledger", **LEDGER}, folder=folder), comm=COMM, into=folder / "runs")


def test_the_ledger_is_computed_again_from_the_fields_by_a_program_that_knows_no_solver(finished: Path) -> None:
    """The fields in `fields.vtkhdf`, the names of the facets in the mesh file, and formulas: nothing of turgor."""
    with h5py.File(finished / "fields.vtkhdf") as file:
        root = file["VTKHDF"]
        points, cells = root["Points"][:], root["Connectivity"][:].reshape(-1, 4)
        data = {name: root["CellData"][name][:] for name in root["CellData"]}
    with h5py.File(finished.parents[1] / "mesh.h5") as file:
        regions, surfaces = json.loads(file.attrs["regions"]), json.loads(file.attrs["surfaces"])
        facets, tags = np.sort(file["facets/vertices"][:], axis=1), file["facets/surface"][:]
    corners = points[cells]
    volumes = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) / 6
    ways = {
        "filtration": np.maximum(data["filtration"], 0),
        "reabsorption": np.maximum(-data["filtration"], 0),
        "lymph": np.maximum(data["lymph"], 0),
        "refilled": np.maximum(-data["lymph"], 0),
    }
    made = data["velocity.divergence"] - data["filtration"] + data["lymph"]
    ways |= {"injected": np.maximum(made, 0), "withdrawn": np.maximum(-made, 0)}
    table = {row["region"]: row for row in rows(finished, "fluid.csv")}
    largest = max(abs(float(row["in [mm^3/s]"])) + abs(float(row["out [mm^3/s]"])) for row in table.values())
    for way, density in ways.items():
        sums = np.bincount(data["region"], density * volumes, minlength=len(regions))
        for region, amount in zip([*regions, "all"], [*sums, sums.sum()], strict=True):
            assert float(table[region][f"{way} [mm^3/s]"]) == pytest.approx(amount, rel=1e-10, abs=1e-10 * largest), way
    outward = fluxes(corners, data["velocity"], data["velocity.divergence"], volumes)
    owners = {tuple(sorted(cell[[i for i in range(4) if i != at]])): [] for cell in cells for at in range(4)}
    for number, cell in enumerate(cells):
        for at in range(4):
            owners[tuple(sorted(cell[[i for i in range(4) if i != at]]))].append((number, at))
    for index, surface in enumerate(surfaces):
        first = regions.index(surface["name"].partition("|")[0])
        net = 0.0
        for facet in facets[tags == index]:
            for number, at in owners[tuple(facet)]:
                net += outward[number, at] * (data["region"][number] == first)
        row = next(row for row in rows(finished, "surfaces.csv") if row["surface"] == surface["name"])
        assert float(row["net [mm^3/s]"]) == pytest.approx(net, rel=1e-9, abs=1e-10 * largest), surface
    # What flows out of each cell is what is made in it.
    assert outward.sum(axis=1) == pytest.approx(data["velocity.divergence"] * volumes, abs=1e-10 * largest)


def fluxes(corners: Array, velocity: Array, divergence: Array, volumes: Array) -> Array:
    """Return the rate out of each cell through the facet opposite each vertex."""
    found = np.empty((len(corners), 4))
    for at in range(4):
        a, b, c = (corners[:, i] for i in range(4) if i != at)
        area = 0.5 * np.cross(b - a, c - a)
        area *= -np.sign((area * (corners[:, at] - a)).sum(axis=1))[:, None]
        found[:, at] = (velocity * area).sum(axis=1) + divergence * volumes / 4
    return found


def test_every_region_closes_to_ten_digits_of_its_largest_term(finished: Path) -> None:
    found = rows(finished, "fluid.csv")
    assert [row["region"] for row in found] == ["core", "tumor", "normal", "all"]
    for row in found:
        terms = [abs(float(text)) for key, text in row.items() if "mm^3/s" in key and "residual" not in key]
        assert abs(float(row["residual [mm^3/s]"])) <= 1e-10 * max(terms), row
    whole = found[-1]
    assert all(float(whole[f"{way} [mm^3/s]"]) > 0 for way in ("in", "out", "filtration", "lymph", "injected"))
    assert float(whole["injected [mm^3/s]"]) == pytest.approx(1e-4, rel=1e-9)
    assert float(whole["withdrawn [mm^3/s]"]) == pytest.approx(3e-5, rel=1e-9)


def test_the_record_and_the_tables_say_the_same_of_the_tumor(finished: Path) -> None:
    (tumor,) = json.loads((finished / "run.json").read_text(encoding="utf-8"))["findings"]["flow"]["tumors"]
    assert tumor["regions"] == ["tumor", "core"], "a necrotic core lies in the tumor's body"
    (row,) = rows(finished, "rim.csv")
    assert float(row["plateau [Pa]"]) == pytest.approx(tumor["plateau"], rel=1e-11)
    assert float(row["efflux [mm^3/s]"]) == pytest.approx(tumor["efflux"], rel=1e-11)
    assert sum(float(end["share"]) for end in rows(finished, "fate.csv")) == pytest.approx(1.0, abs=1e-5)
    profile = rows(finished, "profile.csv")
    distances = [float(row["distance [mm]"]) for row in profile]
    assert distances == sorted(distances)


def test_the_report_shows_the_tumor_the_ledger_and_the_surfaces_of_the_run(finished: Path) -> None:
    run = Run(finished)
    (table,) = tumor_tables(run)
    assert table.regions == "tumor, core"
    assert table.condition.startswith("normal solved around it, with ")
    assert [row.what for row in table.rows[:2]] == ["plateau pressure", "pressure at its surface"]
    assert sum(float(row.value) for row in table.fate) == pytest.approx(100.0, abs=0.5)
    fluid, surfaces = fluid_table(run), surface_table(run)
    assert fluid is not None
    assert surfaces is not None
    assert fluid.header[1:4] == ["in", "out", "filtration"]
    assert "refilled" not in fluid.header, "one-way lymph never refills"
    assert [row[0] for row in fluid.rows] == ["core", "tumor", "normal", "all"]
    assert {row[0] for row in surfaces.rows} >= {"tumor|normal", "normal|x-", "normal|y+"}
