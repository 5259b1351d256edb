"""How pages are filled: one set-up for all templates of the report, and its scripts and their data."""

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

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
