"""The data set from the network, only when a user asks: Kaggle first, Mendeley Data as fallback.

"Chest X-Ray Images (Pneumonia)" by Kermany, Zhang and Goldbaum (2018), CC BY 4.0, 1.2 GB. Kaggle gives it to
anyone through kagglehub (https://github.com/Kaggle/kagglehub). Mendeley Data lists the files of a data set with
their SHA-256 at `/public-api/datasets/<id>/files?folder_id=root&version=<version>`. Nothing is reported to anyone.
"""

import hashlib
import os
import shutil
import stat
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pneumoscope.errors import DownloadError, MissingExtraError
from pneumoscope.progress import log, progress_bar, track

KAGGLE_HANDLE = "paultimothymooney/chest-xray-pneumonia"
KAGGLE_API = "https://api.kaggle.com"
KAGGLE_PAGE = f"https://www.kaggle.com/datasets/{KAGGLE_HANDLE}"
MENDELEY_API = "https://data.mendeley.com/public-api/datasets/rscbjbr9sj/files?folder_id=root&version=2"
MENDELEY_PAGE = "https://data.mendeley.com/datasets/rscbjbr9sj/2"
MENDELEY_FILE = "ChestXRay2017.zip"
FOLDER = "chest_xray"

_SECONDS_TO_ANSWER = 10.0
_TIMEOUT = (5.0, 15.0)
_ATTEMPTS = 5
_PAUSE = 1.0
_CHUNK = 1 << 16


@dataclass(frozen=True)
class _RemoteFile:
    """What the archive says of a file: address, SHA-256 in hex, size in bytes."""

    url: str
    sha256: str
    size: int


def download_collection(out_dir: str | os.PathLike[str], *, source: str = "auto") -> Path:
    """Fetch the data set into `out_dir/chest_xray`.

    What is there already is not fetched again. A broken transfer is taken up where it stopped, also by a later
    call; the bytes are checked before anything is unpacked, and the folder appears only once it is whole.

    Args:
        out_dir: folder to put it in; made if need be.
        source: `kaggle`, `mendeley`, or `auto` for the first of these that works.

    Returns:
        The folder to pass on as the source of a collection.

    Raises:
        DownloadError: if it cannot be had, with what to do by hand; without a network after 20 s at most.
        MissingExtraError: if the packages that fetch it are not installed.
    """
    fetchers: dict[str, Callable[[Path], Path]] = {"kaggle": _fetch_kaggle, "mendeley": _fetch_mendeley}
    if source not in ("auto", *fetchers):
        raise DownloadError(f"source is {source!r}, expected auto, {' or '.join(fetchers)}")
    out_dir = Path(out_dir)
    if (out_dir / FOLDER).is_dir():
        log.info("%s is there already; remove it to fetch it anew", out_dir / FOLDER)
        return out_dir / FOLDER
    failures: dict[str, Exception] = {}
    for name in fetchers if source == "auto" else (source,):
        try:
            out_dir.mkdir(parents=True, exist_ok=True)
            return fetchers[name](out_dir)
        except Exception as error:  # whatever a foreign library or the network raises, the next source may work
            failures[name] = error
            log.info("%s: %s", name, error)
            log.debug("the failure in full", exc_info=error)
    missing = [error for error in failures.values() if isinstance(error, MissingExtraError)]
    if len(missing) == len(failures):
        raise missing[0]
    raise DownloadError(_explain(failures, out_dir))


def _explain(failures: dict[str, Exception], out_dir: Path) -> str:
    reasons = "\n".join(f"  {name}: {str(error) or type(error).__name__}" for name, error in failures.items())
    return f"""the data set could not be fetched:
{reasons}
Mend that and run the same command again (it goes on where it stopped), or fetch it by hand:
  1. Open one of these addresses in a browser, on any computer, and download the archive (1.2 GB):
       {KAGGLE_PAGE}
       {MENDELEY_PAGE}   (the file {MENDELEY_FILE})
  2. Unzip it in {out_dir}, so that {out_dir / FOLDER / "train" / "NORMAL"} exists.
  3. Run: pneumoscope study --data {out_dir / FOLDER} --out out"""


def _import_extra(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise MissingExtraError(
            f"{name} is not installed, and downloading needs it. Run: pip install 'pneumoscope[download]'"
        ) from None


def _check_reachable(address: str) -> None:
    """Ask for an answer in a thread that may be left behind: looking up a name knows no time limit of its own."""
    requests = _import_extra("requests")
    outcome: list[Exception | None] = []

    def ask() -> None:
        try:
            requests.head(address, timeout=_TIMEOUT[0], allow_redirects=False)
            outcome.append(None)
        except requests.RequestException as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_SECONDS_TO_ANSWER)
    if not outcome or outcome[0] is not None:
        host = address.split("/")[2]
        raise DownloadError(f"{host} does not answer; is this computer connected to the network?")


def _fetch_kaggle(out_dir: Path) -> Path:
    cache = out_dir / ".kagglehub"
    with _environment({"KAGGLEHUB_CACHE": str(cache), "KAGGLEHUB_VERBOSITY": "warning"}):
        kagglehub = _import_extra("kagglehub")
        _check_reachable(KAGGLE_API)
        fetched = Path(kagglehub.dataset_download(KAGGLE_HANDLE))
    inner = fetched / FOLDER if (fetched / FOLDER).is_dir() else fetched
    if not inner.resolve().is_relative_to(cache.resolve()):
        return inner  # on Kaggle's own machines the data set is mounted, read-only
    inner.replace(out_dir / FOLDER)
    shutil.rmtree(cache)
    return out_dir / FOLDER


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _fetch_mendeley(out_dir: Path) -> Path:
    _import_extra("requests")
    _check_reachable(MENDELEY_API)
    archive = out_dir / MENDELEY_FILE
    remote = _find_file()
    if not (archive.is_file() and _hash(archive) == remote.sha256):
        _transfer(remote, archive)
    unpacked = _unzip(archive, out_dir)
    archive.unlink()
    return unpacked


def _find_file() -> _RemoteFile:
    requests = _import_extra("requests")
    answer = requests.get(MENDELEY_API, timeout=_TIMEOUT, headers={"Accept": "application/json"})
    answer.raise_for_status()
    try:
        entry = next(entry for entry in answer.json() if entry["filename"] == MENDELEY_FILE)
        details = entry["content_details"]
        return _RemoteFile(details["download_url"], details["sha256_hash"].lower(), int(details["size"]))
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        raise DownloadError(f"Mendeley Data lists no {MENDELEY_FILE} where it was expected, {MENDELEY_API}") from None


def _transfer(remote: _RemoteFile, target: Path) -> None:
    """Fetch a file, going on after what is there; give up after five attempts in a row that brought nothing more."""
    requests = _import_extra("requests")
    partial = target.with_name(target.name + ".partial")
    attempts, so_far, problem = 0, _size(partial), ""
    with progress_bar() as bar:
        task = bar.add_task(f"Fetching {target.name} (MB)", total=remote.size / 1e6)
        while _size(partial) < remote.size:
            if attempts == _ATTEMPTS:
                raise DownloadError(f"the transfer broke off at {so_far / 1e6:.1f} MB ({problem})")
            time.sleep(_PAUSE * attempts)
            try:
                for size in _stream(remote, partial):
                    bar.update(task, completed=size / 1e6)
                problem = "the server ended it early"
            except requests.RequestException as error:
                problem = str(error)
            attempts = 0 if _size(partial) > so_far else attempts + 1
            so_far = max(so_far, _size(partial))
    digest = _hash(partial)
    if digest != remote.sha256:
        partial.unlink()
        raise DownloadError(
            f"{target.name} arrived damaged (SHA-256 {digest}, expected {remote.sha256}) and was removed; "
            "fetch it again"
        )
    partial.replace(target)


def _stream(remote: _RemoteFile, partial: Path) -> Iterator[int]:
    """Append what is missing, yielding the size so far; start anew where the server cannot go on in the middle."""
    requests = _import_extra("requests")
    start = _size(partial)
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    with requests.get(remote.url, stream=True, timeout=_TIMEOUT, headers=headers) as answer:
        answer.raise_for_status()
        goes_on = answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        with partial.open("ab" if answer.status_code == 206 and goes_on else "wb") as stream:
            for chunk in answer.iter_content(_CHUNK):
                stream.write(chunk)
                yield stream.tell()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unzip(archive: Path, out_dir: Path) -> Path:
    """Unpack the folder `chest_xray`, whole or not at all, and nothing outside of it."""
    partial = out_dir / f".{FOLDER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = [member for member in bundle.infolist() if _is_wanted(member)]
            needed, free = sum(member.file_size for member in members), shutil.disk_usage(out_dir).free
            if needed > free:
                raise DownloadError(f"{needed / 1e9:.1f} GB are needed in {out_dir}, {free / 1e9:.1f} GB are free")
            for member in track(members, "Unpacking"):
                bundle.extract(member, partial)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise DownloadError(f"{archive} is no whole zip archive ({error}); remove it and fetch it again") from None
    unpacked = next((path for path in sorted(partial.rglob(FOLDER)) if path.is_dir()), None)
    if unpacked is None:
        raise DownloadError(f"{archive} holds no folder {FOLDER}; expected the archive of {MENDELEY_PAGE}")
    unpacked.replace(out_dir / FOLDER)
    shutil.rmtree(partial)
    return out_dir / FOLDER


def _is_wanted(member: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or stat.S_ISLNK(member.external_attr >> 16):
        raise DownloadError(f"the archive holds {member.filename!r}, which would lead out of the folder; not unpacked")
    return not (member.is_dir() or "__MACOSX" in path.parts or path.name.startswith("."))
