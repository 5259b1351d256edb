"""How pages are filled: one set-up for all templates of the report, and its scripts and their data."""

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.io.write import write_text
from pneumoscope.report.tables import shorten_list
from pneumoscope.report.wording import configuration_title, field_title

if TYPE_CHECKING:
    from jinja2 import Environment

SCRIPTS = ("map.js", "thresholds.js")


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


def read_scripts() -> dict[str, str]:
    """Return the scripts that a report may hold, by file name, exactly as they stand in its page."""
    return {name: files("pneumoscope.report").joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS}


def embed_json(data: Any) -> str:
    """Return data as JSON that may stand in a page: a script's text ends at the first `</script>` wherever it stands.

    Args:
        data: plain values, without NaN.
    """
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def write_page(path: Path, template: str, **content: Any) -> Path:
    """Write a page that opens with no network, and return its path.

    Args:
        path: of the page; a file that stands there is replaced in one step.
        template: name of its template.
        content: variables of the template, besides `css`, `research_use_only` and `version`.
    """
    environment = make_environment()
    environment.filters |= {
        "shorten": shorten_list,
        "configuration_title": configuration_title,
        "field_title": field_title,
    }
    html = environment.get_template(template).render(
        css=files("pneumoscope.report").joinpath("report.css").read_text(encoding="utf-8"),
        research_use_only=RESEARCH_USE_ONLY,
        version=__version__,
        **content,
    )
    write_text(path, html)
    return path
