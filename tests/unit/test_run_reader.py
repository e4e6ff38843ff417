"""A run folder is read as it was written, and anything else is refused in words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.fake_run import CENTER, Fake, concentration, pressure, write_fake_run

from turgor.materials.errors import CaseError
from turgor.postprocess import Run, Table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_run(tmp_path_factory.mktemp("runs") / "a run with ümlauts", Fake(subdivisions=1))


def test_importing_the_package_loads_no_drawing_library() -> None:
    program = "import sys, turgor.postprocess; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert {"pyvista", "vtkmodules", "matplotlib", "k3d", "jinja2", "h5py"}.isdisjoint(loaded)


def test_every_stored_time_gives_the_fields_that_were_written(folder: Path) -> None:
    run = Run(folder)
    for time in run.times:
        grid = run.grid(time)
        radius = np.linalg.norm(np.asarray(grid.points) - CENTER, axis=1)
        # Written and read in double precision: only rounding in the formula's argument is left.
        assert np.asarray(grid.point_data["pressure"]) == pytest.approx(pressure(radius), rel=1e-12)
        assert np.asarray(grid.point_data["concentration"]) == pytest.approx(concentration(radius, time), rel=1e-9)


def test_without_a_time_the_last_one_is_given(folder: Path) -> None:
    run = Run(folder)
    last = np.asarray(run.grid(run.times[-1]).point_data["concentration"])
    assert np.array_equal(np.asarray(run.grid().point_data["concentration"]), last)


def test_a_time_that_is_not_stored_is_refused_with_the_closest(folder: Path) -> None:
    with pytest.raises(CaseError, match="closest is 3600 s"):
        Run(folder).grid(4000.0)


def test_region_indices_count_in_the_names_of_the_regions(folder: Path) -> None:
    run = Run(folder)
    grid = run.grid()
    middles = np.asarray(grid.cell_centers().points)
    far = np.linalg.norm(middles - CENTER, axis=1) > 12.0
    assert {run.regions[i] for i in np.asarray(grid.cell_data["region"])[far]} == {"breast"}


def test_tables_are_columns_by_header(folder: Path) -> None:
    run = Run(folder)
    tumor = run.region_means.where("region", "tumor")
    assert len(tumor) == len(run.quantities) > 5
    assert tumor.numbers("t [s]") == pytest.approx(run.quantities.numbers("t [s]"))
    assert run.balance.distinct("physics") == ("flow", "drug")
    with pytest.raises(CaseError, match=r"Did you mean 'dose \[mol/m\^3\]'"):
        run.quantities.numbers("dose [mol/m3]")


def test_an_empty_cell_of_a_table_is_not_a_number(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,\n2,3\n", encoding="utf-8")
    table = Table.read(tmp_path / "t.csv")
    assert np.isnan(table.numbers("b")[0])
    assert table.numbers("b")[1] == 3.0


def test_a_ragged_table_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3\n", encoding="utf-8")
    with pytest.raises(CaseError, match=r"line 3 has 1 cells, the header has 2"):
        Table.read(tmp_path / "t.csv")


def test_a_run_without_plasma_has_an_empty_plasma_table(tmp_path: Path) -> None:
    run = Run(write_fake_run(tmp_path / "run", Fake(drug=False, times=(0.0,), subdivisions=1)))
    assert len(run.plasma) == 0
    assert not run.has("concentration")
    assert run.has("velocity")


@pytest.mark.parametrize(
    ("status", "words"), [("running", "not finished"), ("failed", "failed: the drug solver stopped")]
)
def test_a_run_that_did_not_finish_is_refused(tmp_path: Path, status: str, words: str) -> None:
    with pytest.raises(CaseError, match=words):
        Run(write_fake_run(tmp_path / "run", Fake(status=status, subdivisions=1)))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"not a run folder, it has no run\.json"):
        Run(tmp_path)
    with pytest.raises(CaseError, match="no such folder"):
        Run(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["{", '{"format": 1}', '{"format": 9, "status": "finished", "name": "x"}', "\udcff"])
def test_a_broken_manifest_is_refused_and_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CaseError, match=r"run\.json"):
        Run(tmp_path)


def test_a_manifest_with_keys_of_a_later_version_is_read(folder: Path, tmp_path: Path) -> None:
    for name in ("run.json", "resolved.json"):
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        (tmp_path / name).write_text(json.dumps(content | {"new": {"key": 1}}), encoding="utf-8")
    assert Run(tmp_path).regions == ("breast", "tumor", "necrosis")


def test_fields_that_are_not_vtkhdf_are_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("run.json", "resolved.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(CaseError, match=r"there is no fields\.vtkhdf"):
        _ = Run(tmp_path).times
    (tmp_path / "fields.vtkhdf").write_bytes(b"no hdf")
    with pytest.raises(CaseError, match="not a readable VTKHDF file"):
        _ = Run(tmp_path).times
