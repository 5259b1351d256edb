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


def read_report(study_dir: Path) -> bytes:
    """Return the report that a study wrote.

    Args:
        study_dir: folder of the study.

    Raises:
        PneumoscopeError: if there is no regular file inside the folder, or it is too large.
    """
    path = (study_dir / REPORT_NAME).resolve()
    if not path.is_relative_to(study_dir.resolve()) or not path.is_file():
        raise PneumoscopeError(
            f"The study has no {REPORT_NAME} yet. It is written when a study ends; go on with a study that stopped:"
        )
    with path.open("rb") as file:
        page = file.read(MAX_REPORT_BYTES + 1)
    if len(page) > MAX_REPORT_BYTES:
        raise PneumoscopeError(
            f"{REPORT_NAME} is larger than {MAX_REPORT_BYTES >> 20} MiB and is not a report of this program. "
            "Write it again with:"
        )
    return page


def write_policy(page: bytes) -> str:
    """Return the content security policy of a report.

    A study may come from elsewhere. So only scripts of this package run, whatever the page holds; it may use its own
    style and pictures inside itself, fetches nothing, and lives in an origin of its own. A report that another version
    wrote is shown without what its scripts add.

    Args:
        page: the report.
    """
    scripts = " ".join(map(hash_source, (script.encode() for script in read_scripts().values())))
    styles = " ".join(map(hash_source, _STYLE.findall(page))) or "'none'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; "
        "sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox"
    )


def hash_source(text: bytes) -> str:
    """Return the hash of an inline script or style as a policy names it."""
    return f"'sha256-{b64encode(sha256(text).digest()).decode()}'"
