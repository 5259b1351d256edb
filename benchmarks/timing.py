"""Options, timing and tables of the benchmarks."""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from pneumoscope import draw_phantoms


def parse_options(description: str | None, **defaults: object) -> argparse.Namespace:
    """Parse one option for each default; None stands for an optional path."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        kind = Path if default is None else type(default)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default)
    return parser.parse_args()


def take_turns(
    methods: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Return the seconds of each call of each method; the methods take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats):
        for name, method in methods.items():
            start = clock()
            method()
            seconds[name].append(clock() - start)
    return seconds


def print_table(title: str, values: Mapping[str, float | Sequence[float]], reference: str) -> None:
    """Print a value for each method, the median of many, and its ratio to that of the reference."""
    medians = {name: statistics.median(runs) if isinstance(runs, Sequence) else runs for name, runs in values.items()}
    print(f"\n{title:36}{'':>12}{f'x {reference}':>30}")
    for name, median in medians.items():
        print(f"{name:36}{median:12.3f}{median / medians[reference]:30.2f}")


def write_phantom_files(folder: Path, *, num_files: int, size: int, shape: tuple[int, int] | None = None) -> Path:
    """Write phantoms as JPEG, resized to a width and height where given, and return the folder."""
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(draw_phantoms(num_files, size=size, seed=0).images):
        radiograph = Image.fromarray(image)
        (radiograph.resize(shape) if shape else radiograph).save(folder / f"{number:04}.jpeg", quality=90)
    return folder
