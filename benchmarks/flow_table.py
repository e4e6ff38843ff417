"""The table of the flow benchmark, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PHASES = ("patterns", "assembly", "setup", "solve", "recovery")
Found = Mapping[str, Any]


def rows(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def seconds(value: float | None) -> str:
    """Return seconds with three figures; a dash for none."""
    return "-" if value is None else f"{value:#.3g}".rstrip(".")


def thousands(count: int) -> str:
    """Return a number with spaces."""
    return f"{count:,}".replace(",", " ")


def costs(found: Found) -> str:
    """Return what the conservative flow costs."""
    head = ["cells", "ranks", "unknowns", *PHASES, "all [s]", "iterations", "bytes a cell", "peak [GB]"]
    body = []
    for one in found["sizes"].values():
        cost = one["sizes"]
        body.append(
            [
                thousands(one["cells"]),
                str(cost["ranks"]),
                thousands(cost["unknowns"]),
                *(seconds(cost[phase]) for phase in PHASES),
                f"**{seconds(cost['all'])}**",
                f"{cost['iterations_1e-10']} / {cost['iterations']}",
                f"{cost['bytes'] / one['cells']:.0f}",
                f"{cost['peak'] / 1e9:.2f}",
            ]
        )
    return rows(head, body)


def jumps(found: Found) -> str:
    """Return iterations by conductivity of the tumor relative to the host's."""
    having = [one for one in found["sizes"].values() if "jumps" in one]
    if not having:
        return ""
    names = list(having[0]["jumps"])
    body = []
    for one in having:
        each = (one["jumps"][name] for name in names)
        body.append([thousands(one["cells"]), *(f"{cost['iterations_1e-10']} / {cost['iterations']}" for cost in each)])
    return rows(["cells \\ K tumor / K host", *names], body)


def contest(found: Found, part: str) -> str:
    """Return all contestants' seconds, and how often turgor's quickest linear elements and its flux go into them."""
    body = []
    for one in found["sizes"].values():
        results = one.get(part, {})
        if not results:
            continue
        flux = results["turgor, conservative flux"]["all"]
        linear = min(cost["all"] for name, cost in results.items() if name.startswith("turgor, linear"))
        for name, cost in results.items():
            peer = not name.startswith("turgor")
            ratios = [f"{cost['all'] / own:.1f}" if peer else "" for own in (linear, flux)]
            ratios[0] = "" if "hybridized" in name else ratios[0]
            phases = [seconds(cost.get(phase)) for phase in ("assembly", "setup", "solve")]
            body.append(
                [thousands(one["cells"]), name, *phases, seconds(cost["all"]), str(cost["iterations"]), *ratios]
            )
    head = ["cells", "who", "assembly", "setup", "solve", "all [s]", "iterations"]
    return rows([*head, "x turgor's linear elements", "x turgor's flux"], body)


def limits(found: Found) -> str:
    """Return the solve against the bandwidth limit."""
    body = []
    for one in found["sizes"].values():
        if "limit" in one:
            most = one["limit"]
            least = most["bytes"] / most["bandwidth"]
            figures = [f"{most['bytes'] / 1e9:.2f}", f"{most['bandwidth'] / 1e9:.1f}", seconds(least)]
            ratio = f"{most['seconds'] / least:.2f}"
            body.append([thousands(one["cells"]), *figures, seconds(most["seconds"]), ratio])
    return rows(["cells", "moved [GB]", "triad [GB/s]", "least [s]", "solve [s]", "ratio"], body)


AMG = ("NGSolve, h1amg", "scikit-fem + pyamg, smoothed aggregation")
"""The peers' own multigrid."""
SUMMED = f"{AMG[1]}, matrices of regions"


def goals(found: Found) -> str:
    """Return what was wanted beside what was measured."""
    body = []
    having = [one for one in found["sizes"].values() if AMG[0] in one.get("first", {}) and AMG[1] in one["first"]]
    for part, wanted in (("first", ("8", "3")), ("again", ("5", "5"))):
        for one in having:
            results = one[part]
            flux = results["turgor, conservative flux"]["all"]
            linear = min(cost["all"] for name, cost in results.items() if name.startswith("turgor, linear"))
            for own, words, least in zip((linear, flux), ("linear elements", "flux included"), wanted, strict=True):
                what = "first solve" if part == "first" else "new parameters"
                reached = " / ".join(f"{results[name]['all'] / own:.1f}" for name in (*AMG, SUMMED) if name in results)
                body.append([f"{what}, {words}, {thousands(one['cells'])} cells", f"{least}x", f"{reached}x"])
    most = max(cost["iterations_1e-10"] for one in found["sizes"].values() for cost in one.get("jumps", {}).values())
    body.append(["iterations to 1e-10, all sizes and jumps", "at most 20", f"at most {most}"])
    largest = [one for one in found["sizes"].values() if "limit" in one][-1]
    ratio = largest["limit"]["seconds"] / (largest["limit"]["bytes"] / largest["limit"]["bandwidth"])
    body.append([f"solve / bandwidth limit, {thousands(largest['cells'])} cells", "1.3x", f"{ratio:.2f}x"])
    if "1M" in found["sizes"]:
        costs_most = found["sizes"]["1M"]["sizes"]["all"]
        body.append(["flux, 1M cells, all after the mesh, to 1e-12", "3 s", f"{costs_most:.1f} s"])
    return rows(["NGSolve's / scikit-fem + pyamg's time over turgor's, and others", "goal", "measured"], body)


def table(found: Found) -> str:
    """Return everything."""
    versions = sorted({version for one in found["sizes"].values() for version in one["versions"]})
    low, high = found["load"]
    parts = [
        "### Goals",
        goals(found),
        "### The conservative flux, to a true relative residual of 1e-12 (iterations: to 1e-10 / 1e-12)",
        costs(found),
        "### Iterations to 1e-10 / 1e-12 by conductivity jump",
        jumps(found),
        f"### First solve after the mesh, to {found['tolerance']:g}",
        contest(found, "first"),
        f"### Solve with new parameters, from zero, to {found['tolerance']:g}",
        contest(found, "again"),
        "### The solve against the bandwidth limit, to 1e-12",
        limits(found),
        f"{found['cores']} cores, load {low:.1f} to {high:.1f}; {', '.join(versions) or 'no peers'}",
    ]
    return "\n\n".join(part for part in parts if part)
