"""A finished run as an object: its words, tables, times and fields."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from turgor.materials.errors import CaseError
from turgor.postprocess.manifest import Bars, Manifest, Resolved, read_bars, read_manifest, read_resolved
from turgor.postprocess.table import Table

if TYPE_CHECKING:
    import pyvista as pv


class Run:
    """A finished run folder.

    `Run("results/breast-3f9a21")` reads the words at once and the numbers when they are asked for. Fields come as a
    PyVista grid, `run.grid(3600.0)`; the integer cell field `region` counts in `run.regions`.

    Attributes:
        folder: The run folder.
        manifest: What `run.json` says.
        resolved: What `resolved.json` says.
    """

    def __init__(self, folder: Path | str) -> None:
        """Open a run folder.

        Raises:
            CaseError: It is not a run folder, or the run is not finished or has failed.
        """
        self.folder = Path(folder)
        if not self.folder.exists():
            raise CaseError(f"{self.folder}: there is no such folder")
        self.manifest: Manifest = read_manifest(self.folder)
        self._require_finished()
        self.resolved: Resolved = read_resolved(self.folder)

    def _require_finished(self) -> None:
        status, reason = self.manifest.status, self.manifest.reason
        if status == "failed":
            raise CaseError(f"{self.folder}: the run failed{': ' + reason if reason else ''}. See log.txt in it")
        if status != "finished":
            raise CaseError(
                f"{self.folder}: the run is not finished (its status is {status!r}). "
                "Wait for it, or start it again with `turgor run`"
            )

    def __repr__(self) -> str:
        """Return the name and the folder."""
        return f"Run({str(self.folder)!r})"

    @property
    def status(self) -> str:
        """The status, "finished"."""
        return self.manifest.status

    @property
    def title(self) -> str:
        """The title of the case, or its name."""
        return self.manifest.title or self.manifest.name

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions; the cell field `region` counts in them."""
        return self.manifest.regions

    @property
    def tumor(self) -> tuple[str, ...]:
        """Names of the regions that count as tumor."""
        return tuple(name for name in self.manifest.tumor if name in self.regions)

    @property
    def references(self) -> Mapping[str, str]:
        """Key -> readable reference of everything this run rests on."""
        return self.manifest.references

    @cached_property
    def quantities(self) -> Table:
        """The measures, one row a step."""
        return Table.read(self.folder / "quantities.csv")

    @cached_property
    def balance(self) -> Table:
        """In, out, made, lost, stored and residual of every step by physics, region and surface."""
        return Table.read(self.folder / "balance.csv")

    @cached_property
    def region_means(self) -> Table:
        """Means and extremes of the fields by region, one row a step and region."""
        return Table.read(self.folder / "regions.csv")

    @cached_property
    def fluid(self) -> Table:
        """Every way of the fluid by region, gross, each time fields are stored."""
        return Table.read(self.folder / "fluid.csv")

    @cached_property
    def surface_fluxes(self) -> Table:
        """The flux of fluid through every named surface, each time fields are stored."""
        return Table.read(self.folder / "surfaces.csv")

    @cached_property
    def profile(self) -> Table:
        """The pressure against the distance from each tumor, each time fields are stored; empty without a tumor."""
        return Table.read(self.folder / "profile.csv")

    @cached_property
    def bars(self) -> Bars:
        """The errors of the numbers, from a second mesh; empty for a run without --error-bar, or with an old one."""
        bars = read_bars(self.folder)
        current = bool(bars.runs) and bars.runs[0] == (self.manifest.case_hash, str(self.manifest.finished))
        return bars if current else Bars()

    @cached_property
    def plasma(self) -> Table:
        """Free concentration in plasma; empty for a run without drug."""
        return Table.read(self.folder / "plasma.csv")

    @property
    def case_text(self) -> str:
        """The bytes of the case file, as text."""
        path = self.folder / "case.toml"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    @property
    def bibtex(self) -> str:
        """The bibliography of the run."""
        path = self.folder / "references.bib"
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    @property
    def _fields_file(self) -> Path:
        path = self.folder / "fields.vtkhdf"
        if not path.is_file():
            raise CaseError(f"{self.folder}: there is no fields.vtkhdf in this run folder")
        return path

    @cached_property
    def times(self) -> tuple[float, ...]:
        """Times of the stored fields [s].

        Raises:
            CaseError: The fields are missing or are not a temporal VTKHDF file.
        """
        import h5py

        try:
            with h5py.File(self._fields_file, "r") as file:
                return tuple(float(t) for t in np.asarray(file["VTKHDF/Steps/Values"]))
        except (OSError, KeyError):
            raise CaseError(f"{self._fields_file}: this is not a readable VTKHDF file with times") from None

    def step(self, time: float | None = None) -> int:
        """Return the index of a stored time, the last one if none is given.

        Raises:
            CaseError: No field is stored at that time; names the closest.
        """
        times = np.array(self.times)
        if not len(times):
            raise CaseError(f"{self._fields_file}: no time is stored in it")
        if time is None:
            return len(times) - 1
        closest = int(np.argmin(np.abs(times - time)))
        if abs(times[closest] - time) > 1e-6 * max(float(times[-1] - times[0]), 1.0):
            raise CaseError(
                f"{self.folder}: no fields are stored at t = {time:g} s, the closest is {times[closest]:g} s"
            )
        return closest

    def grid(self, time: float | None = None) -> pv.UnstructuredGrid:
        """Return mesh and fields at a stored time [s], the last one if none is given.

        Raises:
            CaseError: No field is stored at that time.
        """
        from turgor.postprocess.offscreen import pv

        step = self.step(time)
        reader = pv.HDFReader(str(self._fields_file))
        # PyVista's reader has no times of its own for this format (pyvista issue 7089).
        reader.reader.SetStep(step)
        grid = reader.read()
        if not isinstance(grid, pv.UnstructuredGrid):
            raise CaseError(f"{self._fields_file}: expected one unstructured grid, found {type(grid).__name__}")
        return grid

    def has(self, field: str) -> bool:
        """Return whether a field is stored."""
        import h5py

        with h5py.File(self._fields_file, "r") as file:
            return any(field in file.get(f"VTKHDF/{group}", {}) for group in ("PointData", "CellData"))
