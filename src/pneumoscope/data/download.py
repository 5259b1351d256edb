"""Download "Chest X-Ray Images (Pneumonia)" (Kermany, Zhang and Goldbaum 2018, CC BY 4.0, 1.2 GB).

Sources are Kaggle, through kagglehub, and Mendeley Data (doi:10.17632/rscbjbr9sj), through pooch with the SHA-256 that
Mendeley publishes. Neither library sends telemetry.
"""

import os
import shutil
import sys
import zipfile
from pathlib import Path, PurePosixPath

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
    """Download the data set into `out_dir/chest_xray` and return that folder.

    An existing folder is not downloaded again. On Kaggle, the returned folder is the mounted data set.

    Args:
        out_dir: parent folder; created if needed.
        source: `kaggle`, `mendeley`, or `auto`, which tries both in this order.

    Raises:
        DownloadError: if the download fails; the message describes the manual download.
        MissingExtraError: if kagglehub or pooch is not installed.
    """
    fetchers = {"kaggle": _fetch_kaggle, "mendeley": _fetch_mendeley}
    if source not in ("auto", *fetchers):
        raise DownloadError(f"source is {source!r}, expected auto, {' or '.join(fetchers)}")
    out_dir = Path(out_dir)
    if (out_dir / FOLDER).is_dir():
        log.info("%s exists; remove it to download it again", out_dir / FOLDER)
        return out_dir / FOLDER
    reasons = ""
    for name in fetchers if source == "auto" else (source,):
        try:
            out_dir.mkdir(parents=True, exist_ok=True)
            return fetchers[name](out_dir)
        except ImportError as error:
            raise MissingExtraError(f"the download requires {error.name}. Run: pip install '.[download]'") from None
        except Exception as error:  # libraries and network raise many types; the next source may work
            reasons += f"\n  {name}: {error or type(error).__name__}"
            log.debug("download from %s failed", name, exc_info=error)
    raise DownloadError(f"""the data set cannot be downloaded:{reasons}
Check the network and run the command again, or download the archive (1.2 GB) manually from
  {KAGGLE_PAGE} or
  {MENDELEY_PAGE} (file {MENDELEY_FILE})
and unzip it in {out_dir}, so that {out_dir / FOLDER / "train" / "NORMAL"} exists.""")


def _fetch_kaggle(out_dir: Path) -> Path:
    import kagglehub

    cache, before = out_dir / ".kagglehub", os.environ.pop("KAGGLEHUB_CACHE", None)
    os.environ["KAGGLEHUB_CACHE"] = str(cache)
    try:
        fetched = Path(kagglehub.dataset_download(KAGGLE_HANDLE))
    finally:
        os.environ.pop("KAGGLEHUB_CACHE")
        os.environ.update({} if before is None else {"KAGGLEHUB_CACHE": before})
    folder = fetched / FOLDER if (fetched / FOLDER).is_dir() else fetched
    if not folder.resolve().is_relative_to(cache.resolve()):
        return folder  # Kaggle notebooks mount the data set read-only
    folder.replace(out_dir / FOLDER)
    shutil.rmtree(cache)
    return out_dir / FOLDER


def _fetch_mendeley(out_dir: Path) -> Path:
    import pooch
    import requests

    listing = requests.get(MENDELEY_API, timeout=_TIMEOUT, headers={"Accept": "application/json"})
    listing.raise_for_status()
    try:
        details = next(entry for entry in listing.json() if entry["filename"] == MENDELEY_FILE)["content_details"]
        url, sha256, size = details["download_url"], details["sha256_hash"].lower(), int(details["size"])
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        raise DownloadError(f"{MENDELEY_API} does not list {MENDELEY_FILE} with its URL and SHA-256") from None
    needed, free = 2 * size, shutil.disk_usage(out_dir).free  # the archive and its extracted files
    if needed > free:
        raise DownloadError(
            f"{out_dir} has {free / 1e9:.1f} GB of free space; expected {needed / 1e9:.1f} GB. Free disk space."
        )
    files = pooch.create(out_dir, "", registry={MENDELEY_FILE: f"sha256:{sha256}"}, retry_if_failed=_RETRIES)
    files.urls[MENDELEY_FILE] = url
    get = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=_TIMEOUT)
    archive = Path(files.fetch(MENDELEY_FILE, downloader=get))
    _unpack(archive, out_dir)
    archive.unlink()
    return out_dir / FOLDER


def _unpack(archive: Path, out_dir: Path) -> None:
    """Extract the folder `chest_xray` atomically: it appears only when it is complete."""
    partial = out_dir / f".{FOLDER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as bundle:
            for name in track(bundle.namelist(), "Unpacking"):
                parts = PurePosixPath(name).parts
                # Skip hidden files and paths outside the folder.
                if parts[0] == FOLDER and not any(part.startswith(".") for part in parts):
                    bundle.extract(name, partial)
        (partial / FOLDER).replace(out_dir / FOLDER)
    except (zipfile.BadZipFile, NotImplementedError, FileNotFoundError) as error:
        raise DownloadError(f"{archive} is not a complete zip archive ({error}); remove it and try again") from None
    shutil.rmtree(partial)
