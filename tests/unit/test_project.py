"""The project keeps its promises: packages, dependencies, layers and the size of functions and files."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from turgor.case import Case

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {name: ROOT / folder for name, folder in PROJECT["tool"]["setuptools"]["package-dir"].items()}
MODULES = sorted(path for folder in FOLDERS.values() for path in folder.glob("*.py"))
LONGEST_FUNCTION = 45
LONGEST_FILE = 400


def name_of(path: Path) -> str:
    """Return the import name of a module of the package."""
    (package,) = (name for name, folder in FOLDERS.items() if folder == path.parent)
    return package if path.stem == "__init__" else f"{package}.{path.stem}"


def docstring_lines(node: ast.AST) -> int:
    """Count the lines of the docstrings in a function, a class or a module."""
    count = 0
    for inner in ast.walk(node):
        if isinstance(inner, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and inner.body:
            first = inner.body[0]
            if ast.get_docstring(inner) is not None:
                count += (first.end_lineno or 0) - first.lineno + 1
    return count


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Yield every function of a module."""
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of everything that is imported, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_the_packages_listed_are_the_folders_with_code() -> None:
    listed = PROJECT["tool"]["setuptools"]["packages"]
    tops = [ROOT / top for top in ("turgor", "materials", "meshing", "fem", "postprocess")]
    with_code = {path.parent for top in tops for path in top.rglob("*.py")}
    assert sorted(listed) == sorted(FOLDERS)
    assert with_code == set(FOLDERS.values())
    assert all((folder / "__init__.py").is_file() for folder in with_code)


def test_every_file_beside_the_code_is_shipped() -> None:
    (patterns,) = PROJECT["tool"]["setuptools"]["package-data"].values()
    shipped = {path for folder in FOLDERS.values() for pattern in patterns for path in folder.glob(pattern)}
    beside = {
        path
        for folder in FOLDERS.values()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".nbc", ".nbi", ".md")
    }
    assert beside - shipped == set()


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    with_dolfinx = {"dolfinx", "ufl", "basix", "ffcx", "petsc4py", "slepc4py", "mpi4py", "cffi", "dolfinx-solver-real"}
    found = {name.split(".")[0] for path in MODULES for name in imports(ast.parse(path.read_text()))}
    third = found - set(sys.stdlib_module_names) - {"turgor"} - with_dolfinx
    come_along = {"pydantic_core", "markupsafe"}
    distributions = packages_distributions()
    used = {re.sub(r"[-_.]+", "-", distributions[name][0]).lower() for name in third - come_along}
    declared = {re.split(r"[<>=!; ]", line)[0].lower() for line in PROJECT["project"]["dependencies"]}
    assert used == declared - with_dolfinx - {"vtk"}, "vtk is declared because a PyVista needs a VTK of its time"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_and_files_are_short(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) - docstring_lines(tree) <= LONGEST_FILE
    lengths = {f.name: (f.end_lineno or 0) - f.lineno + 1 - docstring_lines(f) for f in functions(tree)}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_say_what_they_are_and_hide_nothing(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text))
    assert not re.search(r"\b(TODO|FIXME|XXX)\b|pragma: no cover|except Exception\b|except:", text)


def test_every_module_has_a_layer() -> None:
    (line,) = (c for c in PROJECT["tool"]["importlinter"]["contracts"] if c["name"] == "The line runs one way")
    placed = {name for layer in line["layers"] for name in re.split(r"\s*[:|]\s*", layer)}
    packages = set(FOLDERS) - placed
    parents = {name for name in placed if name in FOLDERS}
    unplaced = {
        name
        for path in MODULES
        if (name := name_of(path)) not in placed | packages and not any(name.startswith(f"{p}.") for p in parents)
    }
    assert unplaced == set()
    assert placed <= {name_of(path) for path in MODULES}


def test_the_case_of_the_readme_is_a_case(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    (tmp_path / "liver.nii.gz").touch()
    case = Case.of(tomllib.loads(text), folder=tmp_path)
    assert set(case.physics) == {"flow", "drug"}


def test_the_readme_names_files_that_exist() -> None:
    named = re.findall(r"`((?:fem|materials|meshing|postprocess|turgor)/[\w/]+\.py)`", (ROOT / "README.md").read_text())
    assert named
    assert [path for path in named if not (ROOT / path).is_file()] == []
