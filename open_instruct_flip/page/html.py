"""A page from a template: one HTML file that needs no network."""

from __future__ import annotations

from typing import Any

from open_instruct_flip.errors import MissingDependencyError, install_line

try:
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
except ImportError:
    raise MissingDependencyError(f"the page needs jinja2: {install_line('compare')}") from None


def render(package: str, template: str, **values: Any) -> str:
    """Fill a template of a package; it may include the files of that package and of this one.

    Values are escaped as text, a value that the template does not get is an error.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("open_instruct_flip.page", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
