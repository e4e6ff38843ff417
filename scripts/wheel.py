"""Build the wheel of turgor and unpack it: wheel.py WHEELS SITE."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCES = ("turgor", "materials", "meshing", "fem", "postprocess", "pyproject.toml", "README.md", "LICENSE")


def build(root: Path, wheels: Path) -> Path:
    """Return the wheel, built from a copy so that no build folder with old modules gets into it."""
    with TemporaryDirectory() as copy:
        for name in SOURCES:
            source, target = root / name, Path(copy) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        pip("wheel", "--no-deps", "--wheel-dir", wheels, copy)
    (wheel,) = wheels.glob("turgor-*.whl")
    return wheel


def pip(*words: str | Path) -> None:
    """Run pip quietly."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, words)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    pip("install", "--no-deps", "--target", sys.argv[2], build(Path(__file__).parents[1], Path(sys.argv[1])))
