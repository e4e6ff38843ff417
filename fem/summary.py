"""What a run says about itself: run.json, resolved.json and the references."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from turgor.case import Case
from turgor.fem.coefficients import Coefficients
from turgor.fem.couple import ordered
from turgor.fem.domain import Domain
from turgor.fem.physics.drug.spec import DrugSpec
from turgor.fem.problem import Problem
from turgor.fem.record import versions
from turgor.fem.runfolder import Identity
from turgor.fem.spec import PhysicsSpec
from turgor.materials.library import Agent, Entry
from turgor.materials.parameters import PARAMETERS
from turgor.materials.references import bibliography, citation, references
from turgor.resolve import Given, agent_of, tumors

FORMAT = 1
TOOLS = ("dolfinx", "gmsh", "pyvista")
"""Keys of the software that a run should cite."""


def identity(case: Case, domain: Domain) -> Identity:
    """Return name and hash of a run: of the case's words, its files, the mesh and the version of turgor."""
    version = versions()["turgor"]
    words = {key: value for key, value in case.words.items() if key not in ("mesh", "title")}
    digest = hashlib.sha256(json.dumps(words, sort_keys=True, default=str).encode())
    digest.update(f"{domain.hash}{version}".encode())
    for file in sorted(set(_files(case.words, case.folder))):
        digest.update(file.read_bytes())
    return Identity(case.name, case.title or "", digest.hexdigest(), version)


def _files(words: Any, folder: Path) -> Iterable[Path]:
    """Yield the images and curves that a case names, the segmentation apart, which the mesh stands for."""
    if isinstance(words, Mapping):
        for key, value in words.items():
            if key in ("image", "csv") and isinstance(value, str):
                yield folder / value
            elif key != "mesh":
                yield from _files(value, folder)
    elif isinstance(words, list | tuple):
        for value in words:
            yield from _files(value, folder)


def before(case: Case, domain: Domain, problems: Mapping[str, Problem]) -> dict[str, Any]:
    """Return what is known before the first step; collective."""
    cells = domain.by_region(domain.volumes * 0 + 1.0)
    volumes = domain.by_region(domain.volumes)
    certificate = _certificate(domain.file.with_name(f"{domain.file.stem}.certificate.json"))
    return {
        "regions": list(domain.regions),
        "tumor": [name for name in tumors(case) if name in domain.regions],
        "surfaces": [{"name": s.name, "kind": s.kind, "area": s.area} for s in domain.surfaces.values()],
        "region_geometry": [
            {"name": name, "cells": int(count), "volume": float(volume)}
            for name, count, volume in zip(domain.regions, cells, volumes, strict=True)
        ],
        "side": {name: str(r["side"]) for name, r in dict(certificate.get("regions", {})).items() if "side" in r},
        "fields": {
            name: {"unit": field.unit, "label": field.label, "on": "points" if field.kind == "P1" else "cells"}
            for problem in problems.values()
            for name, field in problem.fields.items()
        },
        "mesh": {
            "file": domain.file.name,
            "hash": domain.hash,
            "cells": int(cells.sum()),
            "points": int(domain.mesh.geometry.index_map().size_global),
            "certificate": certificate,
        },
        "versions": versions(),
        "reproduce": " ".join(
            ["turgor run case.toml", f"-n {domain.comm.size}", *(f"--set {shlex.quote(text)}" for text in case.changes)]
        ),
    }


def _certificate(file: Path) -> dict[str, Any]:
    """Return the mesh's certificate, empty when it has none."""
    if not file.is_file():
        return {}
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def after(
    case: Case,
    coefficients: Coefficients,
    problems: Mapping[str, Problem],
    keys: Iterable[str],
    worst: Mapping[str, float],
) -> dict[str, Any]:
    """Return what is known after the last step; collective."""
    statistics = {name: dict(problem.statistics()) for name, problem in problems.items()}
    checks: dict[str, Any] = {}
    for problem in problems.values():
        checks.update(problem.verification())
    return {
        "physics": [
            {
                "name": spec.key,
                "unknowns": int(statistics[spec.key].get("unknowns", 0)),
                "equations": _equations(spec),
            }
            for spec in ordered(case.physics)
        ],
        "solvers": statistics,
        "findings": {name: dict(found) for name, problem in problems.items() if (found := problem.findings())},
        "verification": {**checks, "balance_residual_max": dict(worst)},
        "warnings": [
            *coefficients.notes,
            *(sentence for problem in problems.values() for sentence in problem.warnings()),
        ],
        "citations": list(keys),
        "references": {key: citation(key) for key in keys},
    }


def _equations(spec: PhysicsSpec) -> str:
    """Return the docstring of the module `equations` beside a physics' solver; without one, that of its spec."""
    package = spec.live.partition(":")[0].rpartition(".")[0]
    if package and find_spec(f"{package}.equations") is not None:
        return (import_module(f"{package}.equations").__doc__ or "").strip()
    return (type(spec).__doc__ or "").strip()


def resolved(case: Case, domain: Domain, coefficients: Coefficients, problems: Mapping[str, Problem]) -> dict[str, Any]:
    """Return every value in force, with unit and source."""
    agent = agent_of(case.physics)
    drug = case.physics.get("drug")
    plasma = drug.plasma if isinstance(drug, DrugSpec) else None
    return {
        "format": FORMAT,
        "case": json.loads(json.dumps(case.words, default=str)),
        "regions": {
            region: {name: _value(given) for name, given in values.items()}
            for region, values in coefficients.values.items()
        },
        "maps": [record.as_words() for record in coefficients.records],
        "unused": sorted(_unused(case)),
        "agent": _agent(agent) if agent else None,
        "plasma": {"words": plasma.words()} if plasma else None,
        "conditions": [
            {
                "surface": name,
                "kind": domain.surfaces[name].kind,
                "area": domain.surfaces[name].area,
                "physics": key,
                "condition": words,
            }
            for key, problem in problems.items()
            for name, words in problem.surface_conditions().items()
        ],
    }


def _value(given: Given) -> dict[str, Any]:
    parameter = PARAMETERS.get(given.parameter)
    number = None if isinstance(given.value, str) else given.number()
    return {
        "value": given.text,
        "number": number if number == number else None,
        "unit": parameter.unit if parameter else "",
        "symbol": parameter.symbol if parameter else "",
        "label": parameter.label if parameter else given.parameter,
        "source": given.source,
        "reason": given.reason,
    }


def _unused(case: Case) -> set[str]:
    """Return the parameters that the case gives and no physics of it needs."""
    needed = {name for spec in case.physics.values() for name in spec.parameters}
    return {
        f"materials.{region}.{name}"
        for region, material in case.materials.items()
        for name in material.given()
        if name not in needed
    }


def _agent(agent: Agent) -> dict[str, Any]:
    def said(entry: Entry) -> dict[str, str]:
        return {"value": str(entry.quantity), "source": entry.source, "reason": entry.reason}

    return {
        "name": agent.name,
        "title": agent.title,
        "note": agent.note,
        "molar_mass": said(agent.molar_mass),
        "unbound_fraction": said(agent.unbound_fraction),
        "kinetics": [{"amplitude": said(a), "rate": said(k)} for a, k in agent.kinetics],
    }


def citations(case: Case, domain: Domain, coefficients: Coefficients) -> tuple[str, ...]:
    """Return the keys of everything a run rests on, sorted."""
    known = references()
    keys = {given.source for values in coefficients.values.values() for given in values.values()}
    keys |= {key for spec in case.physics.values() for key in spec.references} | set(TOOLS)
    agent = agent_of(case.physics)
    if agent is not None:
        entries = [agent.molar_mass, agent.unbound_fraction, *(entry for pair in agent.kinetics for entry in pair)]
        keys |= {entry.source for entry in entries}
    return tuple(sorted(key for key in keys if key in known))


__all__ = ["after", "before", "bibliography", "citations", "identity", "resolved"]
