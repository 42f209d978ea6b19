"""How every figure looks: one colour per curve, thin grey furniture, strong lines."""

from __future__ import annotations

from typing import Any

INK = "#1c2530"
GREY = "#6b7683"
RULE = "#e4e8ec"
# Distinct in lightness as well as in hue, so that the order survives a grey print and colour blindness.
COLORS = ("#0b5fa5", "#d9541e", "#1f9e77", "#8e4fa8", "#c79200", "#3a3f47", "#c2185b", "#6aaed6")
DASHES = ("-", (0, (4, 1.6)), (0, (1, 1.4)))

RC_PARAMS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "text.color": INK,
    "axes.edgecolor": "#aab3bd",
    "axes.linewidth": 0.7,
    "axes.labelcolor": GREY,
    "axes.labelsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": "#aab3bd",
    "ytick.color": "#aab3bd",
    "xtick.labelcolor": GREY,
    "ytick.labelcolor": GREY,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.wspace": 0.05,
    "figure.constrained_layout.hspace": 0.05,
    "text.parse_math": False,  # a run's name may hold dollar signs
    "svg.fonttype": "path",
    "savefig.dpi": 200,
}


def line_style(index: int) -> dict[str, Any]:
    """Colour and dashes of the curve at this place; no two of the first 24 are alike."""
    return {"color": COLORS[index % len(COLORS)], "linestyle": DASHES[index // len(COLORS) % len(DASHES)]}
