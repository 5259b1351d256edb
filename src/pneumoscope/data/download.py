"""Download "Chest X-Ray Images (Pneumonia)" (Kermany, Zhang and Goldbaum 2018, CC BY 4.0, 1.2 GB) when a user asks.

Kaggle by kagglehub, which resumes and checks the transfer; Mendeley Data (doi:10.17632/rscbjbr9sj) by pooch, with the
SHA-256 that Mendeley lists. Neither library sends telemetry.
"""

import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from pneumoscope.errors import DownloadError, MissingExtraError
from pneumoscope.progress import log, track

KAGGLE_HANDLE = "paultimothymooney/chest-xray-pneumonia"
KAGGLE_PAGE = f"https://www.kaggle.com/datasets/{KAGGLE_HANDLE}"
MENDELEY_API = "https://data.mendeley.com/public-api/datasets/rscbjbr9sj/files?folder_id=root&version=2"
MENDELEY_PAGE = "https://data.mendeley.com/datasets/rscbjbr9sj/2"
MENDELEY_FILE = "ChestXRay2017.zip"
FOLDER = "chest_xray"

_TIMEOUT = (5.0, 30.0)
_RETRIES = 3


def download_collection(out_dir: str | os.PathLike[str], *, source: str = "auto") -> Path:
    """Download the data set into `out_dir/chest_xray`; a folder that exists is kept as it is.

    Args:
        out_dir: folder to put it in; created if needed.
        source: `kaggle`, `mendeley`, or `auto` for the first of these that works.

    Returns:
        The folder to pass on as the source of a collection.

    Raises:
        DownloadError: if it cannot be downloaded, with what to do by hand.
        MissingExtraError: if kagglehub or pooch is not installed.
    """
    fetchers: dict[str, Callable[[Path], Path]] = {"kaggle": _fetch_kaggle, "mendeley": _fetch_mendeley}
    if source not in ("auto", *fetchers):
        raise DownloadError(f"source is {source!r}, expected auto, {' or '.join(fetchers)}")
    out_dir = Path(out_dir)
    if (out_dir / FOLDER).is_dir():
        log.info("%s exists; remove it to download it again", out_dir / FOLDER)
        return out_dir / FOLDER
    failures: dict[str, Exception] = {}
    for name in fetchers if source == "auto" else (source,):
        try:
            out_dir.mkdir(parents=True, exist_ok=True)
            return fetchers[name](out_dir)
        except MissingExtraError:
            raise
        except Exception as error:  # whatever a library or the network raises, the next source may work
            failures[name] = error
            log.debug("download from %s", name, exc_info=error)
    reasons = "\n".join(f"  {name}: {_describe(error)}" for name, error in failures.items())
    raise DownloadError(f"""the data set could not be downloaded:
{reasons}
Run the command again when this is fixed, or download it by hand:
  1. Open one of these addresses in a browser, on any computer, and download the archive (1.2 GB):
       {KAGGLE_PAGE}
       {MENDELEY_PAGE}   (the file {MENDELEY_FILE})
  2. Unzip it in {out_dir}, so that {out_dir / FOLDER / "train" / "NORMAL"} exists.
  3. Run: pneumoscope study --data {out_dir / FOLDER} --out out""")


def _describe(error: Exception) -> str:
    requests = _import_extra("requests")
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return "the server does not answer; is this computer connected to the network?"
    return str(error) or type(error).__name__


def _import_extra(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise MissingExtraError(
            f"{name} is not installed, and downloading needs it. Run: pip install 'pneumoscope[download]'"
        ) from None


def _fetch_kaggle(out_dir: Path) -> Path:
    cache = out_dir / ".kagglehub"
    with _environment_variable("KAGGLEHUB_CACHE", str(cache)):
        fetched = Path(_import_extra("kagglehub").dataset_download(KAGGLE_HANDLE))
    folder = fetched / FOLDER if (fetched / FOLDER).is_dir() else fetched
    if not folder.resolve().is_relative_to(cache.resolve()):
        return folder  # notebooks on Kaggle mount the data set read-only
    folder.replace(out_dir / FOLDER)
    shutil.rmtree(cache)
    return out_dir / FOLDER


@contextmanager
def _environment_variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _fetch_mendeley(out_dir: Path) -> Path:
    requests, pooch = _import_extra("requests"), _import_extra("pooch")
    listing = requests.get(MENDELEY_API, timeout=_TIMEOUT, headers={"Accept": "application/json"})
    listing.raise_for_status()
    try:
        details = next(entry for entry in listing.json() if entry["filename"] == MENDELEY_FILE)["content_details"]
        url, sha256, size = details["download_url"], details["sha256_hash"].lower(), int(details["size"])
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        raise DownloadError(f"{MENDELEY_API} lists no {MENDELEY_FILE}, expected its address and SHA-256") from None
    _check_free_space(size, out_dir)
    files = pooch.create(
        out_dir,
        base_url="",
        registry={MENDELEY_FILE: f"sha256:{sha256}"},
        urls={MENDELEY_FILE: url},
        retry_if_failed=_RETRIES,
    )
    get = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=_TIMEOUT)
    archive = Path(files.fetch(MENDELEY_FILE, downloader=get))
    folder = _unpack(archive, out_dir)
    archive.unlink()
    return folder


def _check_free_space(needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(f"{needed / 1e9:.1f} GB are needed in {folder}, {free / 1e9:.1f} GB are free; make room")


def _unpack(archive: Path, out_dir: Path) -> Path:
    """Unpack the folder `chest_xray`, which appears only when it is complete."""
    partial = (out_dir / f".{FOLDER}.partial").resolve()
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = [item for item in bundle.infolist() if not item.filename.startswith("__MACOSX/")]
            for item in members:
                if not (partial / item.filename).resolve().is_relative_to(partial):
                    raise DownloadError(f"{archive} holds {item.filename!r}, a path out of its folder; not unpacked")
            _check_free_space(sum(item.file_size for item in members), out_dir)
            for item in track(members, "Unpacking"):
                if not Path(item.filename).name.startswith("."):
                    bundle.extract(item, partial)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise DownloadError(
            f"{archive} is no complete zip archive ({error}); remove it and download it again"
        ) from None
    folder = next((path for path in sorted(partial.rglob(FOLDER)) if path.is_dir()), None)
    if folder is None:
        raise DownloadError(f"{archive} holds no folder {FOLDER}, expected the archive of {MENDELEY_PAGE}")
    folder.replace(out_dir / FOLDER)
    shutil.rmtree(partial)
    return out_dir / FOLDER
