"""Mesh a small ball and say how many cells it has; `turgor doctor` starts this as a program of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np

from turgor.materials.errors import TurgorError
from turgor.materials.quantity import Quantity
from turgor.meshing import make
from turgor.meshing.spec import ImageSpec, MeshSpec


def cells() -> int:
    """Mesh a ball of radius 8 mm from a label image; return the number of its cells."""
    import h5py

    ball = np.linalg.norm(np.indices((20, 20, 20)) - 9.5, axis=0) <= 8
    with TemporaryDirectory() as folder:
        image = Path(folder) / "ball.nii.gz"
        nib.save(nib.Nifti1Image(ball.astype(np.uint8), np.eye(4)), image)
        spec = MeshSpec(
            file=Path(folder) / "ball.msh",
            image=ImageSpec(file=image, labels={"ball": (1,)}),
            size={"ball": Quantity.parse("3 mm", "mm")},
        )
        with h5py.File(make.mesh(spec)) as h5:
            return len(h5["cells"])


def main() -> int:
    """Return 0 if there are cells."""
    try:
        found = cells()
    except TurgorError as error:
        print(error)
        return 1
    print(f"{found} cells")
    return int(found == 0)


if __name__ == "__main__":
    sys.exit(main())
