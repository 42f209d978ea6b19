"""A figure as SVG, and as an element of a page."""

from __future__ import annotations

import io
import re

from open_instruct_flip.errors import MissingDependencyError, install_line
from open_instruct_flip.page.style import RC_PARAMS

try:
    import matplotlib
    from matplotlib.figure import Figure
except ImportError:
    raise MissingDependencyError(f"figures need matplotlib: {install_line('compare')}") from None


def svg_document(figure: Figure, salt: str) -> str:
    """The figure as an SVG document, the same each time; `salt` keeps its ids apart from another figure's."""
    out = io.StringIO()
    with matplotlib.rc_context(RC_PARAMS | {"svg.hashsalt": salt}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return out.getvalue()


def inline_svg(svg: str, prefix: str) -> str:
    """An SVG document as an element for HTML: no XML header, no metadata, no namespace URLs, ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'^<svg[^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\1{prefix}-", svg)
