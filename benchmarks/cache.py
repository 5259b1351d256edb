"""Time and space to load a data set: without a cache, with an empty one and with a full one.

python benchmarks/cache.py [--data DIR] [--num-files 1000] [--repeats 3]

Without --data, phantoms of 224 x 224 are drawn into one class folder each for even and odd numbers.
"""

import shutil
import tempfile
import time
from pathlib import Path

from timing import parse_options, print_table, write_phantom_files

import pneumoscope


def load(folder: Path, size: int, cache_dir: Path | None) -> float:
    """Return the loaded images per second."""
    start = time.perf_counter()
    dataset = pneumoscope.load_dataset(folder, size=size, cache_dir=cache_dir)
    return len(dataset) / (time.perf_counter() - start)


def main() -> None:
    options = parse_options(__doc__, data=None, num_files=1000, repeats=3)
    with tempfile.TemporaryDirectory() as name:
        folder, cache_dir = options.data or Path(name) / "images", Path(name) / "cache"
        if options.data is None:
            folder.mkdir()
            write_phantom_files(folder / "a", num_files=options.num_files, size=224)
            shutil.copytree(folder / "a", folder / "b")
            for path in (folder / "b").iterdir():
                path.write_bytes(path.read_bytes() + b"\0")  # other bytes, same image
        for size in (128, 224):
            rates: dict[str, list[float]] = {"no cache": [], "empty cache": [], "full cache": []}
            for _ in range(options.repeats):
                shutil.rmtree(cache_dir, ignore_errors=True)
                for runs, place in zip(rates.values(), (None, cache_dir, cache_dir), strict=True):
                    runs.append(load(folder, size, place))
            print_table(f"images/s at {size} px", rates, "no cache")
            print(f"cache: {size * size / 1000:.1f} MB per 1,000 images")


if __name__ == "__main__":
    main()
