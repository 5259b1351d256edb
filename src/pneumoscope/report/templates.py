"""How pages are filled: one set-up for all templates of the report."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def make_environment(*, autoescape: bool = True) -> "Environment":
    """Return the environment of the templates beside this file; a name that a page was not given is an error.

    Args:
        autoescape: whether what is filled in is text in a page of HTML.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("pneumoscope", "report"),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
