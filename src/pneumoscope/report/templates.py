"""Jinja environment, style sheet and scripts of the pages."""

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.io.write import write_text
from pneumoscope.phantoms.phantom import PHANTOM_NOTE
from pneumoscope.report.published import REFERENCE_STUDY

if TYPE_CHECKING:
    from jinja2 import Environment

SCRIPTS = ("map.js", "thresholds.js")
MOST_LISTED = 40


def make_environment(*, autoescape: bool = True) -> "Environment":
    """Return the environment of the templates in this package; an undefined variable is an error.

    Args:
        autoescape: whether variables are escaped for HTML.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("pneumoscope", "report"),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def read_scripts() -> dict[str, str]:
    """Return the scripts of a report by file name, exactly as its page contains them."""
    return {name: files("pneumoscope.report").joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS}


def embed_json(data: Any) -> str:
    """Return data as JSON for a `<script>` of a page, with `<` escaped so that no `</script>` ends it early.

    Args:
        data: plain values, without NaN.
    """
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def write_page(path: Path, template: str, *, sections: dict[str, str], phantoms: bool, **content: Any) -> Path:
    """Write a page as one file that works offline, and return its path.

    Args:
        path: of the page; an existing file is replaced atomically.
        template: name of a template that extends `page.html.j2`.
        sections: titles by identifier, in the order of the page.
        phantoms: whether the images are phantoms; the page then says so.
        content: further variables of the template.
    """
    environment = make_environment()
    environment.globals |= {
        "css": files("pneumoscope.report").joinpath("report.css").read_text(encoding="utf-8"),
        "research_use_only": RESEARCH_USE_ONLY,
        "reference_study": REFERENCE_STUDY,
        "about_phantoms": PHANTOM_NOTE,
        "version": __version__,
        "most_listed": MOST_LISTED,
        "sections": sections,
        "phantoms": phantoms,
    }
    write_text(path, environment.get_template(template).render(**content))
    return path
