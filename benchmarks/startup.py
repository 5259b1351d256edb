"""Time to start: `pneumoscope --help` against importing Keras, in fresh processes that take turns.

python benchmarks/startup.py [--repeats 7]
"""

import subprocess
import sys
from functools import partial
from pathlib import Path

from timing import parse_options, print_table, take_turns


def main() -> None:
    options = parse_options(__doc__, repeats=7)
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "pneumoscope --help": [str(Path(sys.executable).with_name("pneumoscope")), "--help"],
        "import pneumoscope": [sys.executable, "-c", "import pneumoscope"],
        "import keras": [sys.executable, "-c", "import keras"],
    }
    methods = {
        name: partial(subprocess.run, command, check=True, capture_output=True) for name, command in commands.items()
    }
    print_table("start, seconds", take_turns(methods, options.repeats), "import keras")


if __name__ == "__main__":
    main()
