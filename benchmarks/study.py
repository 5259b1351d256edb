"""Time of a study, by stage.

python benchmarks/study.py [--data DIR] [--configuration reference|improved|default|both] [--epochs N]

Without --data it is the study of phantoms of `make study`. "other" is start-up, reading and drawing the report.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import parse_options, print_table


def main() -> None:
    options = parse_options(__doc__, data=None, configuration="both", epochs=0)
    with tempfile.TemporaryDirectory() as scratch:
        out_dir = Path(scratch) / "out"
        command = [Path(sys.executable).with_name("pneumoscope"), "study", "--out", out_dir]
        command += ["--configuration", options.configuration]
        command += [options.data] if options.data else []
        command += ["--epochs", str(options.epochs)] if options.epochs else []
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        total = time.perf_counter() - start
        timing = json.loads((out_dir / "results.json").read_text(encoding="utf-8"))["timing"]

    stages = {name: seconds for name, seconds in timing.items() if name != "total"}
    print_table("stage, seconds", {**stages, "other": total - sum(stages.values()), "study": total}, "study")


if __name__ == "__main__":
    main()
