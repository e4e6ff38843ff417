from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from turgor.postprocess.run import Run

DEMOS = Path(__file__).parents[2] / "demos"


def script(path: Path) -> ModuleType:
    """Import a script of a demo under a name of its own."""
    name = f"demo_{path.parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def run(case: Path, into: Path, *changes: str) -> Run:
    """Run a case of a demo with changes, mesh and results below a folder, and open its run folder."""
    mesh = f'mesh.file="{into / case.stem}.msh"'
    settings = [word for change in (mesh, *changes) for word in ("--set", change)]
    before = set((into / "results").glob("*"))
    command = [Path(sys.executable).with_name("turgor"), "run", case, "--into", into / "results", *settings]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (folder,) = set((into / "results").glob("*")) - before
    return Run(folder)


@pytest.fixture
def spheres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the sphere demo with a tumor of 1.2 mm in a ball of 4 mm, whose thin rim fewer cells resolve."""
    folder = tmp_path / "sphere"
    shutil.copytree(DEMOS / "sphere", folder, ignore=shutil.ignore_patterns("*.msh", "*.h5", "results", "__pycache__"))
    script(folder / "make_spheres.py").make(folder, radii=(1.2, 4.0), divisions=(4, 3))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "closed_form", raising=False)
    return folder


@pytest.mark.parametrize("case", ["isolated", "embedded"])
def test_a_spherical_tumor_has_the_pressure_and_flux_of_its_closed_form(case: str, spheres: Path) -> None:
    finished = run(spheres / f"{case}.toml", spheres)
    demo = script(spheres / "check.py")
    # A layer of 0.27 mm fills more of a small sphere than of a large one, and the error of the pressure with it.
    demo.check(finished, pressure=0.025)
    assert demo.draw(finished).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_breast_keeps_account_of_its_drug(tmp_path: Path) -> None:
    sizes = 'mesh.size={breast="9 mm", tumor="4 mm"}'
    finished = run(DEMOS / "breast" / "breast.toml", tmp_path, sizes, 'time.end="3 h"')
    # Where cells are ten times thicker than the layer at the rim, the bounds of the pressure are missed by more.
    script(DEMOS / "breast" / "check.py").check(finished, slack=0.1)


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with every other voxel of the brain's labels; the mesh that is made in it serves several runs."""
    folder = tmp_path_factory.mktemp("brain")
    image = nib.nifti1.load(DEMOS / "brain" / "brain-labels.nii.gz")
    coarse = np.asarray(image.dataobj)[::2, ::2, ::2]
    affine = np.asarray(image.affine) @ np.diag([2.0, 2.0, 2.0, 1.0])
    nib.nifti1.save(nib.nifti1.Nifti1Image(coarse, affine), folder / "coarse.nii.gz")
    return folder


def run_coarse_brain(folder: Path, *changes: str) -> Run:
    sizes = 'mesh.size={gray="10 mm", white="10 mm", edema="6 mm", tumor="4 mm", necrosis="4 mm"}'
    return run(DEMOS / "brain" / "brain.toml", folder, f'mesh.image.file="{folder / "coarse.nii.gz"}"', sizes, *changes)


def test_a_brain_tumor_leaks_into_tissue_that_rests(brain: Path) -> None:
    finished = run_coarse_brain(brain, 'time.end="2 h"')
    script(DEMOS / "brain" / "check.py").check(finished)


def test_a_brain_without_leaky_vessels_is_at_its_resting_pressure_everywhere(brain: Path) -> None:
    closed = [f'materials.{region}.like="brain white matter"' for region in ("tumor", "necrosis")]
    finished = run_coarse_brain(brain, *closed, 'time.end="1 min"', "time.stops=[]")
    script(DEMOS / "brain" / "check.py").check_resting(finished)


MMHG = 133.322387415


class TestClosedForms:
    """The formulas against values that were worked out independently, by finite volumes among others."""

    @pytest.fixture
    def forms(self) -> ModuleType:
        return script(DEMOS / "sphere" / "closed_form.py")

    @staticmethod
    def tissue(forms: ModuleType, *, normal: bool, lymph: float = 0.0) -> Any:
        """Baxter and Jain (1989): K [cm²/(mmHg s)], Lp [cm/(mmHg s)], S/V [1/cm], pe and lymph [1/(mmHg s)]."""
        conductivity, wall, surface, pressure = (
            (8.53e-9, 0.36e-7, 70.0, 15.6 - 0.91 * 10.0) if normal else (4.13e-8, 2.8e-7, 200.0, 15.6 - 0.82 * 5.0)
        )
        per_pressure = 100.0 * conductivity / MMHG, wall * surface / MMHG
        return forms.Tissue(*per_pressure, pressure * MMHG, lymph / MMHG, 0.0)

    @pytest.mark.parametrize(
        ("radius", "shares", "velocity"),
        [
            (0.5, (0.400779, 0.312484, 0.159357, 0.009287), 8.8930e-5),
            (2.0, (0.990672, 0.949702, 0.713433, 0.061616), 1.5114e-4),
            (5.0, (1.000000, 0.999799, 0.968544, 0.159757), 1.6539e-4),
        ],
    )
    def test_isolated_sphere(
        self, forms: ModuleType, radius: float, shares: tuple[float, ...], velocity: float
    ) -> None:
        tumor = self.tissue(forms, normal=False)
        solution = forms.isolated(tumor, radius)
        places = radius * np.array([0.0, 0.5, 0.8, 0.99])
        # The last printed digit.
        assert solution.pressure(places) / (11.5 * MMHG) == pytest.approx(shares, abs=6e-7)
        assert solution.rim_velocity == pytest.approx(velocity, rel=5e-5)

    @pytest.mark.parametrize(
        ("radius", "lymph", "pressures", "velocity"),
        [
            (5.0, 0.0, (11.50000, 11.40995, 10.98911, 8.22797, 6.54073, 6.50042), 7.3475e-6),
            (5.0, 1e-7, (11.50000, 11.40399, 10.95531, 8.03204, 6.29113, 6.25228), 7.8337e-6),
            (10.0, 1e-7, (11.50000, 11.48584, 10.99355, 6.99905, 6.25240, 6.25191), 7.4929e-6),
        ],
    )
    def test_embedded_sphere(
        self, forms: ModuleType, radius: float, lymph: float, pressures: tuple[float, ...], velocity: float
    ) -> None:
        solution = forms.embedded(
            self.tissue(forms, normal=False), self.tissue(forms, normal=True, lymph=lymph), radius
        )
        places = radius * np.array([0.0, 0.9, 1.0, 1.1, 1.5, 2.0])
        assert solution.pressure(places) / MMHG == pytest.approx(pressures, abs=6e-6)
        assert solution.rim_velocity == pytest.approx(velocity, rel=1e-5)

    def test_shell_without_and_with_a_pressure_outside(self, forms: ModuleType) -> None:
        tumor, normal = self.tissue(forms, normal=False), self.tissue(forms, normal=True)
        sealed = forms.embedded_in_shell(tumor, normal, 5.0, 15.0)
        places = np.array([0.0, 2.5, 4.5, 5.0, 5.5, 15.0])
        printed = (11.50000, 11.49990, 11.40995, 10.98911, 8.22797, 6.50000)
        assert sealed.pressure(places) / MMHG == pytest.approx(printed, abs=6e-6)
        opened = forms.embedded_in_shell(tumor, normal, 5.0, 15.0, outer_pressure=0.0)
        assert opened.pressure(np.array([10.0, 15.0])) / MMHG == pytest.approx((6.49861, 0.0), abs=6e-6)
        assert opened.rim_velocity == pytest.approx(7.3475e-6, rel=1e-5)

    @pytest.mark.parametrize("outer_pressure", [None, 300.0])
    def test_a_thin_shell_meets_its_conditions(self, forms: ModuleType, outer_pressure: float | None) -> None:
        tumor, normal = self.tissue(forms, normal=False), self.tissue(forms, normal=True, lymph=1e-6)
        solution = forms.embedded_in_shell(tumor, normal, 1.0, 1.3, outer_pressure=outer_pressure)
        step = 1e-5
        slope = (solution.pressure(np.array([1.3])) - solution.pressure(np.array([1.3 - step])))[0] / step
        if outer_pressure is None:
            # A one-sided difference is wrong by half a step times p'', which is at most b² times the pressure.
            assert abs(slope) < step * normal.decay**2 * 11.5 * MMHG
        else:
            assert solution.pressure(np.array([1.3]))[0] == pytest.approx(outer_pressure, rel=1e-12)
        inside = solution.pressure(np.array([1.0 - step, 1.0]))
        outside = solution.pressure(np.array([1.0, 1.0 + step]))
        jump = tumor.hydraulic_conductivity / normal.hydraulic_conductivity
        assert np.diff(outside)[0] / np.diff(inside)[0] == pytest.approx(jump, rel=1e-3)


def test_a_divided_icosahedron_is_closed_and_has_the_volume_of_the_sphere() -> None:
    spheres = script(DEMOS / "sphere" / "make_spheres.py")
    points, triangles = spheres.sphere(5.0, 3)
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    there, back = ({tuple(edge) for edge in direction.tolist()} for direction in (edges, edges[:, ::-1]))
    assert there == back
    assert len(there) == len(edges) == 3 * 20 * 4**3
    assert len(points) - len(edges) // 2 + len(triangles) == 2
    assert spheres.volume(points, triangles) == pytest.approx(4.0 / 3.0 * np.pi * 125.0, rel=1e-12)
