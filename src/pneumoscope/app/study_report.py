"""The report of a study as the app serves it: one file, and the policy under which a browser shows it."""

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
        PneumoscopeError: if there is no regular file inside the folder, it is too large, or it has other scripts than
            the reports of this version, which its policy would block.
    """
    path = (study_dir / REPORT_NAME).resolve()
    if not path.is_relative_to(study_dir.resolve()) or not path.is_file():
        raise PneumoscopeError(f"The study has no {REPORT_NAME} yet. A study writes it at its end; continue it with:")
    with path.open("rb") as file:
        page = file.read(MAX_REPORT_BYTES + 1)
    if len(page) > MAX_REPORT_BYTES:
        limit = f"{MAX_REPORT_BYTES >> 20} MiB"
        raise PneumoscopeError(f"{REPORT_NAME} is larger than {limit} and is no report of a study. Write it anew with:")
    if not set(_SCRIPT.findall(page)) <= set(_encode_scripts()):
        raise PneumoscopeError(
            f"Another version of Pneumoscope wrote {REPORT_NAME}, and its scripts do not run here. Write it anew with:"
        )
    return page


def write_policy(page: bytes) -> str:
    """Return the content security policy of a report.

    A study may come from elsewhere. So only scripts of this package run, whatever the page holds; it may use its own
    style and embedded images, fetches nothing, and lives in an origin of its own.

    Args:
        page: the report.
    """
    scripts = " ".join(map(hash_source, _encode_scripts()))
    styles = " ".join(map(hash_source, _STYLE.findall(page))) or "'none'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; "
        "sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox"
    )


def hash_source(text: bytes) -> str:
    """Return the hash of an inline script or style as a policy names it."""
    return f"'sha256-{b64encode(sha256(text).digest()).decode()}'"


def _encode_scripts() -> list[bytes]:
    return [script.encode() for script in read_scripts().values()]
