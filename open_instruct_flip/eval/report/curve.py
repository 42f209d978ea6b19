"""Best-of-N curves as a figure of the page."""

from __future__ import annotations

from collections.abc import Sequence

from open_instruct_flip.eval.best_of_n import FIRST, ORACLE, RANDOM, Curve
from open_instruct_flip.page.style import GREY, INK, RC_PARAMS, RULE, line_style
from open_instruct_flip.page.svg import Figure, inline_svg, matplotlib, svg_document

INCHES = (7.2, 3.6)
DASHES = {RANDOM: ":", FIRST: "-.", ORACLE: "--"}


def curve_svg(curves: Sequence[Curve]) -> str:
    """Gold score over N with 95% bands, judges in colour, what stands beside them in grey; takes the page's colours."""
    with matplotlib.rc_context(RC_PARAMS):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.subplots()
        for index, curve in enumerate(curves):
            style = line_style(index) if curve.is_judge else {"color": GREY, "linestyle": DASHES[curve.name]}
            points = [(n, point) for n, point in curve.points.items() if point is not None]
            sizes = [n for n, _ in points]
            axes.plot(
                sizes, [point.mean for _, point in points], lw=1.9 if curve.is_judge else 1.1, label=curve.name, **style
            )
            if curve.is_judge:
                low, high = [point.low for _, point in points], [point.high for _, point in points]
                axes.fill_between(sizes, low, high, color=style["color"], alpha=0.15, lw=0)
        sizes = list(curves[0].points)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(n) for n in sizes])
        axes.minorticks_off()
        axes.set_xlabel("Responses to pick from, N")
        axes.set_ylabel("Gold score of the pick")
        figure.legend(loc="outside right upper", frameon=False, fontsize=8.5)
        svg = inline_svg(svg_document(figure, "best-of-n"), "bon")
    for color, variable in ((INK, "--ink"), (GREY, "--grey"), (RULE, "--rule"), ("#aab3bd", "--line")):
        svg = svg.replace(color, f"var({variable})")
    return svg
