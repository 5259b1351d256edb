"""The report of a study and the content security policy for it."""

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from pneumoscope.errors import PneumoscopeError
from pneumoscope.report.templates import read_scripts

REPORT_NAME = "report.html"
MAX_REPORT_BYTES = 256 << 20

_STYLE = re.compile(rb"<style>(.*?)</style>", re.DOTALL)
_SCRIPT = re.compile(rb"<script(?![^>]*application/json)[^>]*>(.*?)</script", re.DOTALL | re.IGNORECASE)


def read_report(study_dir: Path) -> bytes:
    """Return the report that a study wrote.

    Args:
        study_dir: folder of the study.

    Raises:
        PneumoscopeError: if the report is missing, too large, or has scripts that the policy would block.
    """
    path = (study_dir / REPORT_NAME).resolve()
    resume = f"pneumoscope study --resume --out {study_dir}"
    if not path.is_relative_to(study_dir.resolve()) or not path.is_file():
        raise PneumoscopeError(f"{study_dir} has no {REPORT_NAME}; finish the study with `{resume}`")
    with path.open("rb") as file:
        page = file.read(MAX_REPORT_BYTES + 1)
    if len(page) > MAX_REPORT_BYTES:
        limit = f"{MAX_REPORT_BYTES >> 20} MiB"
        raise PneumoscopeError(f"{path} is larger than {limit}; write the report again with `{resume}`")
    if not set(_SCRIPT.findall(page)) <= set(_encode_scripts()):
        raise PneumoscopeError(f"{path} is from another version of Pneumoscope; write the report again with `{resume}`")
    return page


def write_policy(page: bytes) -> str:
    """Return the content security policy of a report.

    The report may come from an untrusted source. The policy allows the scripts of this package, the styles of the
    report and embedded images. The report cannot make requests, and is sandboxed in an origin of its own.

    Args:
        page: the report as HTML.
    """
    scripts = " ".join(map(hash_source, _encode_scripts()))
    styles = " ".join(map(hash_source, _STYLE.findall(page))) or "'none'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; "
        "sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox"
    )


def hash_source(text: bytes) -> str:
    """Return the source expression of an inline script or style in a policy."""
    return f"'sha256-{b64encode(sha256(text).digest()).decode()}'"


def _encode_scripts() -> list[bytes]:
    return [script.encode() for script in read_scripts().values()]
