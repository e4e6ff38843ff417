"""The picture of a balance: what came in, where it went, and what is left unexplained.

Heavy (matplotlib): import it inside functions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from turgor.postprocess.ledger import TERMS, Item, Ledger
from turgor.postprocess.look import Picture, light_grid, new_figure, save_data, save_figure, styled
from turgor.postprocess.scales import Scale, number, scale_for, time_scale

_STACK = {"stored": "#56B4E9", "lost": "#E69F00", "out": "#0072B2"}
_MEANING = {
    "flow": {"in": "in through", "out": "out through", "made": "from vessels in", "lost": "to lymph or vessels in"},
    "drug": {
        "in": "in through",
        "out": "out through",
        "made": "from blood in",
        "lost": "lost in",
        "stored": "still in",
    },
}
_WORDS = {"stored": "in the tissue", "lost": "lost (lymph, decay, back to blood)", "out": "out through surfaces"}


def balance_picture(ledger: Ledger, into: Path) -> Picture:
    """Draw the balance of a physics: bars of all ways in and out, and over time when there is time."""
    data = _csv(ledger, into / f"balance-{ledger.physics}.csv")
    with styled():
        if ledger.steady:
            figure = new_figure(6.4, 0.9 + 0.32 * max(len(ledger.items), 3))
            _bars(figure.subplots(), ledger)
        else:
            figure = new_figure(9.4, 3.9)
            grid = figure.add_gridspec(2, 2, height_ratios=(3.2, 1.0), width_ratios=(1.15, 1.0))
            top = figure.add_subplot(grid[0, 0])
            _stack(top, ledger)
            _residual(figure.add_subplot(grid[1, 0], sharex=top), ledger)
            _bars(figure.add_subplot(grid[:, 1]), ledger)
        path = save_figure(figure, into / f"balance-{ledger.physics}.svg")
    what = "Fluid" if ledger.physics == "flow" else "Drug"
    kind = "Rates of the last step" if ledger.steady else "Amounts over the whole run"
    caption = (
        f"{what} balance. {kind}: to the right what came in, to the left where it went. Inner interfaces move it "
        f"between regions and are left out here. Largest residual of a step, over its largest term: "
        f"{number(ledger.relative_residual, 2)}."
    )
    return Picture(f"balance-{ledger.physics}", f"Balance of {ledger.physics}", caption, path,
                   wide=not ledger.steady, data=(data,))  # fmt: skip


def _scale(ledger: Ledger) -> Scale:
    if ledger.steady:
        return scale_for(ledger.unit, max((abs(item.value) for item in ledger.items), default=0.0))
    return scale_for(ledger.amount_unit, max(float(np.abs(ledger.cumulative(t)).max(initial=0.0)) for t in TERMS))


def _bars(axes: Axes, ledger: Ledger) -> None:
    scale = _scale(ledger)
    signed = [(item, item.value if item.term in ("in", "made") else -item.value) for item in ledger.items]
    signed.sort(key=lambda pair: pair[1])
    largest = max((abs(value) for _, value in signed), default=1.0)
    for row, (item, value) in enumerate(signed):
        axes.barh(row, scale(value), color="#009E73" if value > 0 else _STACK.get(item.term, "#999999"), height=0.66)
        text = number(abs(float(scale(value))))
        side = "left" if value > 0 else "right"
        axes.annotate(text, (float(scale(value)), row), xytext=(3 if value > 0 else -3, 0), textcoords="offset points",
                      ha=side, va="center", fontsize=7.5, color="#333333")  # fmt: skip
    axes.axvline(0.0, color="#444444", lw=0.8)
    axes.set_yticks(range(len(signed)), [_label(ledger.physics, item) for item, _ in signed])
    axes.tick_params(axis="y", length=0)
    reach = float(scale(largest)) * 1.35
    axes.set(xlim=(-reach, reach), ylim=(-0.6, len(signed) - 0.4), xlabel=f"[{scale.unit}]")
    axes.set_title(
        "where it went  ←   →  what came in", fontsize=8.5, fontweight="normal", loc="center", color="#444444"
    )
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.spines["left"].set_visible(False)
    light_grid(axes)
    axes.grid(visible=False, axis="y")


def _label(physics: str, item: Item) -> str:
    meaning = _MEANING.get(physics, {}).get(item.term, item.term)
    return f"{meaning} {item.place}"


def _stack(axes: Axes, ledger: Ledger) -> None:
    scale, clocks = _scale(ledger), time_scale(float(ledger.times[-1]))
    t = clocks(ledger.times)
    parts = {term: scale(ledger.cumulative(term)) for term in _STACK}
    came = scale(ledger.cumulative("in") + ledger.cumulative("made"))
    slack = 1e-9 * float(np.abs(came).max(initial=0.0))
    shown = {term: values for term, values in parts.items() if float(np.abs(values).max(initial=0.0)) > slack}
    if all(float(values.min(initial=0.0)) >= -slack for values in shown.values()):
        axes.stackplot(t, *shown.values(), colors=[_STACK[term] for term in shown], alpha=0.85,
                       labels=[_WORDS[term] for term in shown])  # fmt: skip
    else:
        for term, values in shown.items():
            axes.plot(t, values, color=_STACK[term], label=_WORDS[term])
    axes.plot(t, came, color="black", lw=1.2, ls=(0, (4, 2)), label="came in since the start")
    axes.set_ylabel(f"amount [{scale.unit}]")
    axes.set_title("since the start")
    top = max(float(np.max(came, initial=0.0)), float(sum(shown.values(), np.zeros_like(came)).max(initial=0.0)))
    axes.set_ylim(top=1.5 * top if top > 0 else 1.0)
    axes.legend(loc="upper left", ncols=2, fontsize=7.5)
    axes.tick_params(labelbottom=False)
    light_grid(axes)


def _residual(axes: Axes, ledger: Ledger) -> None:
    clocks = time_scale(float(ledger.times[-1]))
    largest = np.max([np.abs(ledger.totals[term]) for term in TERMS[:-1]], axis=0)
    relative = np.abs(ledger.totals["residual"]) / np.where(largest > 0, largest, np.inf)
    axes.plot(clocks(ledger.times), np.maximum(relative, 1e-18), color="#444444", lw=1.0)
    axes.set(yscale="log", xlabel=f"time [{clocks.unit}]", xlim=(0, float(clocks(ledger.times[-1]))))
    axes.set_ylabel("residual /\nlargest term", fontsize=7.5)
    light_grid(axes)


def _csv(ledger: Ledger, path: Path) -> Path:
    columns = {"t [s]": ledger.times, **{f"{t} [{ledger.unit}]": ledger.totals[t] for t in TERMS}}
    return save_data(path, columns)
