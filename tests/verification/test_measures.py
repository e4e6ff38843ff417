"""Measures are exact for fields that the mesh can represent, on any number of ranks."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from turgor.fem.startup import MPI  # isort: skip  (first: it loads MPI)

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from turgor.fem.domain import Domain
from turgor.fem.fields import Kind
from turgor.fem.measures import Field, Measures, share_above, times
from turgor.fem.places import distance
from turgor.fem.record import Regions, static_fields
from turgor.fem.runfolder import Identity, RunFolder
from turgor.fem.spec import MeasureSpec
from turgor.materials.errors import CaseError

COMM = MPI.COMM_WORLD
BOXES = 4
EXACT = 1e-12
"""Relative; integrals of the fields below are exact but for rounding in sums of a few hundred terms."""


@dataclass(frozen=True)
class Given:
    """A field with known values."""

    kind: Kind
    values: NDArray[np.float64]
    unit: str
    dofmap: NDArray[np.int32]


def cube(n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return points and cells of the unit cube in n^3 boxes of six tetrahedra of positive orientation."""
    axis = np.arange(n + 1)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    walks = np.eye(3, dtype=int)[list(permutations(range(3)))].cumsum(axis=1)
    walks = np.concatenate([np.zeros((6, 1, 3), dtype=int), walks], axis=1)
    lattice = grid[(grid < n).all(axis=1)][:, None, None, :] + walks
    cells = (lattice @ np.array([(n + 1) ** 2, n + 1, 1])).reshape(-1, 4)
    points = grid / n
    negative = np.linalg.det(points[cells[:, 1:]] - points[cells[:, :1]]) < 0
    cells[negative] = cells[negative][:, [0, 1, 3, 2]]
    return points, cells


def write_mesh(path: Path) -> None:
    """Write the cube in two regions, "tumor" for x < 1/2 and "brain" beyond."""
    points, cells = cube(BOXES)
    region = (points[cells].mean(axis=1)[:, 0] > 0.5).astype(np.int16)
    faces = np.sort(cells[:, [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]].reshape(-1, 3), axis=1)
    owner = np.repeat(region, 4)
    unique, first, count = np.unique(faces, axis=0, return_index=True, return_counts=True)
    outside = count == 1
    between = (points[unique][:, :, 0] == 0.5).all(axis=1)
    names = [("tumor|brain", "interface"), ("tumor|outside", "outside"), ("brain|outside", "outside")]
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": 1, "hash": "cube", "made_from": "", "frame": "RAS", "unit": "mm"})
        file.attrs["regions"] = json.dumps(["tumor", "brain"])
        file.attrs["surfaces"] = json.dumps([{"name": name, "kind": kind} for name, kind in names])
        file["points"], file["cells"] = points, cells.astype("i4")
        file["region"], file["piece"] = region, np.zeros(len(cells), "i4")
        file["facets/vertices"] = np.concatenate([unique[between], unique[outside]]).astype("i4")
        file["facets/surface"] = np.concatenate([np.zeros(between.sum()), 1 + owner[first[outside]]]).astype("i2")
        file["distance/tumor"] = points[:, 0] - 0.5


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that all ranks share; pytest's own would be cleaned by each rank at once."""
    mine = tempfile.mkdtemp() if COMM.rank == 0 else ""
    shared = Path(COMM.bcast(mine))
    yield shared
    COMM.barrier()
    if COMM.rank == 0:
        shutil.rmtree(shared)


@pytest.fixture(scope="module")
def domain(folder: Path) -> Domain:
    """The cube, spread over all ranks."""
    if COMM.rank == 0:
        write_mesh(folder / "cube.h5")
    COMM.barrier()
    return Domain.read(folder / "cube.h5", COMM)


@pytest.fixture(scope="module")
def fields(domain: Domain) -> dict[str, Field]:
    """A pressure 2 + x + 2y + 4z, a concentration of 3 and 5 by region, a velocity (x, -2, 0) at cell centers."""
    x = domain.space.tabulate_dof_coordinates()
    dofmap = np.asarray(domain.space.dofmap.list)
    one = np.arange(len(domain.region), dtype=np.int32)[:, None]
    velocity = np.column_stack([domain.centers[:, 0], np.full(len(one), -2.0), np.zeros(len(one))])
    return {
        "pressure": Given("P1", 2.0 + x @ np.array([1.0, 2.0, 4.0]), "Pa", dofmap),
        "concentration": Given("DG0", np.array([3.0, 5.0])[domain.region], "mol/m^3", one),
        "concentration.total": Given("P1", np.full(len(x), 0.5), "mol/m^3", dofmap),
        "velocity": Given("DG0vector", velocity, "mm/s", one),
    }


def measure(domain: Domain, fields: dict[str, Field], **words: object) -> tuple[float, str]:
    """Return the value and the unit of one measure."""
    spec = MeasureSpec.model_validate(words)
    accessible = {"concentration": np.array([0.2, 0.4])[domain.region]}
    fluxes = {"velocity": {"tumor|brain": 7.0, "tumor|outside": 1.0, "brain|outside": 2.0}.__getitem__}
    measures = Measures({"it": spec}, domain, fields, fluxes, accessible)
    return measures.at(0.0)["it"], measures.units["it"]


@pytest.mark.parametrize(
    ("how", "expected", "unit"),
    [
        ("mean", 2.0 + 0.25 + 1.0 + 2.0, "Pa"),
        ("integral", 0.5 * 5.25, "Pa*mm^3"),
        ("max", 2.0 + 0.5 + 2.0 + 4.0, "Pa"),
        ("min", 2.0, "Pa"),
    ],
)
def test_a_linear_pressure_has_its_exact_numbers(
    domain: Domain, fields: dict[str, Field], how: str, expected: float, unit: str
) -> None:
    value, said = measure(domain, fields, of="pressure", **{"in": "tumor", "as": how})
    assert value == pytest.approx(expected, rel=EXACT)
    assert said == unit


def test_the_volume_above_a_pressure_is_that_of_the_cut_box(domain: Domain, fields: dict[str, Field]) -> None:
    """x + 2y + 4z > 6 cuts a corner with edges 1, 1/2, 1/4 off the cube, whose tip of half the size is in the tumor."""
    value, unit = measure(domain, fields, of="pressure", **{"in": "brain", "as": "volume_above", "value": "8 Pa"})
    assert value == pytest.approx((1.0 - 0.125) / 48.0, rel=EXACT)
    assert unit == "mm^3"


def test_an_amount_counts_only_the_accessible_fluid(domain: Domain, fields: dict[str, Field]) -> None:
    free, unit = measure(domain, fields, of="concentration", **{"in": "brain", "as": "amount"})
    total, _ = measure(domain, fields, of="concentration.total", **{"in": "brain", "as": "amount"})
    assert free == pytest.approx(0.5 * 5.0 * 0.4, rel=EXACT)
    assert total == pytest.approx(0.5 * 0.5, rel=EXACT)
    assert unit == "nmol"


def test_a_velocity_is_measured_by_magnitude_or_component(domain: Domain, fields: dict[str, Field]) -> None:
    along, _ = measure(domain, fields, of="velocity.x", **{"in": "tumor", "as": "mean"})
    fastest, _ = measure(domain, fields, of="velocity", **{"in": "brain", "as": "max"})
    assert along == pytest.approx(0.25, rel=EXACT)
    assert fastest == pytest.approx(np.hypot(1.0 - 0.25 / BOXES, 2.0), rel=EXACT)


def test_a_flux_counts_from_the_first_region_named(domain: Domain, fields: dict[str, Field]) -> None:
    assert measure(domain, fields, of="velocity", through="tumor|brain") == (7.0, "mm^3/s")
    assert measure(domain, fields, of="velocity", through="brain|tumor") == (-7.0, "mm^3/s")
    assert measure(domain, fields, of="velocity", through="*|outside") == (3.0, "mm^3/s")


def test_a_linear_pressure_is_exact_at_a_point(domain: Domain, fields: dict[str, Field]) -> None:
    value, unit = measure(domain, fields, of="pressure", at=["0.31 mm", "0.47 mm", "0.83 mm"])
    assert value == pytest.approx(2.0 + 0.31 + 0.94 + 3.32, rel=EXACT)
    assert unit == "Pa"


def test_a_shared_point_belongs_to_the_cell_with_the_lowest_number(domain: Domain, fields: dict[str, Field]) -> None:
    """On the plane between the regions the cells of the tumor, at smaller x, have the lower numbers."""
    value, _ = measure(domain, fields, of="concentration", at=["0.5 mm", "0.25 mm", "0.25 mm"])
    assert value == 3.0


def test_a_point_a_thousandth_of_a_cell_outside_counts_as_inside(domain: Domain, fields: dict[str, Field]) -> None:
    reach = 1e-3 * np.sqrt(3.0) / BOXES
    value, _ = measure(domain, fields, of="pressure", at=[f"{1 + 0.9 * reach} mm", "0.4 mm", "0.3 mm"])
    assert value == pytest.approx(2.0 + 1.0 + 0.8 + 1.2, rel=4e-3)
    with pytest.raises(CaseError, match=r"output\.measures\.it\.at: the point .* is 0\.00048 mm outside the mesh"):
        measure(domain, fields, of="pressure", at=["1.00048 mm", "0.4 mm", "0.3 mm"])


def test_a_point_far_outside_is_refused_with_its_distance(domain: Domain, fields: dict[str, Field]) -> None:
    with pytest.raises(CaseError, match="is 5 mm outside the mesh"):
        measure(domain, fields, of="pressure", at=["4 mm", "5 mm", "0.3 mm"])


def test_histories_follow_every_step(domain: Domain, fields: dict[str, Field]) -> None:
    """For c = t (4 - t): the trapezoidal rule with unit steps over [0, 4] gives 10, the peak is 4 at t = 2."""
    words = {"of": "concentration", "in": "tumor", "as": "mean"}
    specs = {over: MeasureSpec.model_validate({**words, "over": over}) for over in ("AUC", "Cmax", "Tmax")}
    values = np.zeros(len(domain.region))
    changing = {"concentration": Given("DG0", values, "mol/m^3", fields["concentration"].dofmap)}
    measures = Measures(specs, domain, changing)
    for t in range(5):
        values[:] = t * (4 - t)
        found = measures.at(float(t))
    assert found == pytest.approx({"AUC": 10.0, "Cmax": 4.0, "Tmax": 2.0}, rel=EXACT)
    assert measures.units == {"AUC": "mol*s/m^3", "Cmax": "mol/m^3", "Tmax": "s"}


def test_all_complaints_come_at_once_with_the_nearest_match(domain: Domain, fields: dict[str, Field]) -> None:
    specs = {
        "a": MeasureSpec.model_validate({"of": "presure", "in": "tumor", "as": "mean"}),
        "b": MeasureSpec.model_validate({"of": "pressure", "in": "tumour", "as": "mean"}),
        "c": MeasureSpec.model_validate({"of": "velocity", "through": "tumor|brian"}),
        "d": MeasureSpec.model_validate({"of": "pressure", "in": "tumor", "as": "volume_above", "value": "3 mm"}),
        "e": MeasureSpec.model_validate({"of": "pressure", "in": "tumor", "as": "amount"}),
    }
    with pytest.raises(CaseError) as refused:
        Measures(specs, domain, fields, {"velocity": lambda surface: 0.0})
    words = str(refused.value)
    for part in (
        "5 complaints",
        "output.measures.a.of: this case has no field 'presure'",
        "Did you mean 'pressure'?",
        "output.measures.b.in: the mesh has no region 'tumour'; it has tumor, brain. Did you mean 'tumor'?",
        "output.measures.c.through: the mesh has no surface 'tumor|brian'",
        "output.measures.d.value: 'mm' does not measure a pressure",
        "output.measures.e.as: only a concentration has an amount",
    ):
        assert part in words


def test_a_name_that_several_agents_share_is_ambiguous(domain: Domain, fields: dict[str, Field]) -> None:
    two = {"A.concentration": fields["concentration"], "B.concentration": fields["concentration"]}
    with pytest.raises(CaseError, match=r"'concentration' is ambiguous; expected one of A\.concentration, B\.conc"):
        measure(domain, two, of="concentration", **{"in": "tumor", "as": "mean"})


def test_the_share_above_a_value_is_a_smooth_step_whatever_the_corners() -> None:
    """Against the same share by the truncated powers of the B-spline, in ordinary cases."""
    corners = np.array([[0.0, 1.0, 2.0, 4.0]])
    a, b, c, d = corners[0]
    for s in (-1.0, 0.5, 1.5, 3.0, 5.0):
        below = sum(max(s - v, 0.0) ** 3 / np.prod([w - v for w in corners[0] if w != v]) for v in (a, b, c, d))
        assert share_above(corners, s)[0] == pytest.approx(1.0 - below, abs=1e-14)


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ([0.0, 0.0, 0.0, 1.0], 0.125),
        ([0.0, 1.0, 1.0, 1.0], 0.875),
        ([0.0, 0.0, 1.0, 1.0], 0.5),
        ([0.0, 0.5, 0.5, 1.0], 0.5),
        ([0.5, 0.5, 0.5, 0.5], 0.0),
        ([0.0, 0.5, 0.5, 0.5], 0.0),
        ([0.5, 0.5, 0.5, 1.0], 1.0),
        ([0.5 - 1e-9, 0.5 - 1e-9, 0.5 + 1e-9, 0.5 + 1e-9], 0.5),
    ],
)
def test_the_share_above_one_half_is_right_where_corners_coincide(corners: list[float], expected: float) -> None:
    assert share_above(np.array([corners]), 0.5)[0] == pytest.approx(expected, abs=1e-7)


def test_the_distance_from_a_tetrahedron_is_that_of_its_nearest_face_edge_or_corner() -> None:
    corners = np.array([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    for point, expected in (
        ([0.2, 0.2, -0.3], 0.3),
        ([0.5, -0.3, -0.4], 0.5),
        ([-1.0, -2.0, -2.0], 3.0),
        ([1.0, 1.0, 1.0], 2.0 / np.sqrt(3.0)),
    ):
        assert distance(corners, np.array(point))[0] == pytest.approx(expected, rel=1e-14)


def test_the_table_of_regions_has_one_row_a_region(domain: Domain, fields: dict[str, Field], folder: Path) -> None:
    accessible = {"concentration": np.array([0.2, 0.4])[domain.region]}
    with RunFolder(folder / "run", Identity("cube", "", "0" * 64, "0"), COMM) as run:
        Regions(run, domain, fields, accessible).write(60.0)
    lines = (folder / "run" / "regions.csv").read_text(encoding="utf-8").splitlines()
    header, tumor, brain = (line.split(",") for line in lines)
    assert header == [
        "t [s]", "region", "pressure mean [Pa]", "pressure max [Pa]", "speed mean [mm/s]",
        "concentration mean [mol/m^3]", "concentration min [mol/m^3]", "concentration max [mol/m^3]", "amount [nmol]",
    ]  # fmt: skip
    assert (tumor[1], brain[1]) == ("tumor", "brain")
    assert [float(cell) for cell in tumor[2:4] + tumor[5:]] == pytest.approx([5.25, 8.5, 3.0, 3.0, 3.0, 0.3], rel=EXACT)
    assert float(brain[-1]) == pytest.approx(0.5 * 5.0 * 0.4, rel=EXACT)


def test_regions_and_distances_go_into_the_file_of_fields(domain: Domain) -> None:
    static = static_fields(domain)
    assert set(static) == {"region", "distance.tumor"}
    x = domain.space.tabulate_dof_coordinates()[:, 0]
    np.testing.assert_allclose(static["distance.tumor"].values, x - 0.5, atol=EXACT)


def test_units_multiply_for_headers() -> None:
    assert times("mol/m^3", "s") == "mol*s/m^3"
    assert times("mol/m^3", "mm^3") == "nmol"
    assert times("mm^3/s", "s") == "mm^3"
    assert times("Pa", "mm^3") == "Pa*mm^3"
