"""Write research results as NAME.csv and NAME.json."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.io.json_file import to_plain, write_json
from pneumoscope.io.results import MethodTable
from pneumoscope.io.write import write_text


def write_result(name: str, rows: Sequence[Mapping[str, Any]], content: Mapping[str, Any], out_dir: Path) -> None:
    """Write `NAME.csv` with one line per row, and `NAME.json` with `content`, into `out_dir`."""
    table = pd.DataFrame(list(rows)).to_csv(index=False)
    write_text(out_dir / f"{name}.csv", f"# {RESEARCH_USE_ONLY}\n{table}")
    head = {"notice": RESEARCH_USE_ONLY, "pneumoscope": __version__}
    write_json(out_dir / f"{name}.json", to_plain({**head, **content}))


def write_table(name: str, table: MethodTable, out_dir: Path, **content: Any) -> MethodTable:
    """Write a table as CSV and JSON, with further `content` in the JSON file; return the table."""
    methods = {"methods": table.metrics, "remarks": table.remarks}
    write_result(name, table.to_rows(), {**content, **methods}, out_dir)
    return table
