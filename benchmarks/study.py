"""How long a whole study takes, stage by stage, and which share of it each stage has.

    python benchmarks/study.py [--data DIR] [--configuration reference|best|both] [--epochs N]

Without --data, the study of drawn phantoms that `make study` runs. "Besides" is what the command takes around its
stages: starting, reading the radiographs, drawing the report.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of radiographs")
    parser.add_argument("--configuration", default="both")
    parser.add_argument("--epochs", type=int)
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        out_dir = Path(scratch) / "out"
        command = [Path(sys.executable).with_name("pneumoscope"), "study", "--out", out_dir]
        command += ["--configuration", given.configuration]
        command += ["--data", given.data] if given.data else []
        command += ["--epochs", str(given.epochs)] if given.epochs else []
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        whole = time.perf_counter() - start
        timing = json.loads((out_dir / "results.json").read_text(encoding="utf-8"))["timing"]

    stages = {name: seconds for name, seconds in timing.items() if name != "total"}
    print(f"{'':34}{'seconds':>10}{'share':>10}")
    for name, seconds in [*stages.items(), ("besides", whole - sum(stages.values())), ("whole study", whole)]:
        print(f"{name:34}{seconds:10.1f}{seconds / whole:10.1%}")


if __name__ == "__main__":
    main()
