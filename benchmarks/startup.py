"""How long a command takes to answer: `pneumoscope --help` against importing Keras.

    python benchmarks/startup.py [--repeats 7]

Each is a fresh process; the two take turns, and the table shows medians.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats

    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "pneumoscope --help": [str(Path(sys.executable).with_name("pneumoscope")), "--help"],
        "import pneumoscope": [sys.executable, "-c", "import pneumoscope"],
        "import keras": [sys.executable, "-c", "import keras"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)

    keras = statistics.median(seconds["import keras"])
    print(f"{'':24}{'seconds':>10}{'Keras takes':>14}")
    for name, runs in seconds.items():
        median = statistics.median(runs)
        print(f"{name:24}{median:10.3f}{keras / median:12.1f} x")


if __name__ == "__main__":
    main()
