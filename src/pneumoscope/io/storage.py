"""Objects of a cloud storage or web server by their URL, with obstore: the extra `cloud`.

Credentials come from the environment or from the machine, as obstore's stores read them; a URL holds none.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pneumoscope.errors import CollectionError, ImageError, PneumoscopeError
from pneumoscope.io.write import atomic_write
from pneumoscope.progress import log, track

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3://", "gs://", "az://", "https://")
AT_ONCE = 16  # requests; each waits for the network most of the time
TIMEOUT_S = 60
_RETRIES = 3
_TABLES = (".csv", ".tsv", ".parquet")
_MAX_REASON = 200


def is_url(source: str | os.PathLike[str]) -> bool:
    """Return whether a source is the URL of an object or of a prefix.

    Example:
        >>> is_url("s3://bucket/folder/"), is_url("folder/a.png")
        (True, False)
    """
    return isinstance(source, str) and source.lower().startswith(SCHEMES)


def list_objects(url: str) -> Iterator[str]:
    """Yield the URLs of the objects below a prefix, or `url` itself if it is no prefix.

    An `https://` URL is a prefix only if it ends with `/`, and if the server lists folders (WebDAV).

    Raises:
        CollectionError: if the bucket does not exist, access is denied, or the storage cannot be reached.
    """
    for path, _ in _list(url):
        yield path


def fetch_object(url: str, *, most: int) -> bytes:
    """Return the content of an object.

    Args:
        url: URL of the object.
        most: highest number of bytes.

    Raises:
        ImageError: if the object does not exist or is larger, if this object is denied, or the connection fails.
        CollectionError: if the whole bucket is denied.
    """
    import obstore

    store, key = _open(url)
    try:
        result = obstore.get(store, key)
        if result.meta["size"] > most:
            raise ImageError(f"an object of {result.meta['size'] >> 20} MiB; expected {most >> 20} or less")
        return bytes(result.bytes())
    except ImageError:
        raise
    except Exception as error:  # obstore raises its own classes and built-in ones
        if _is_denied(error) and not url.lower().startswith("https://"):
            next(_list(url), None)
        raise ImageError(f"the object cannot be read: {_explain(error)}") from None


def fetch_start(url: str, *, length: int) -> bytes:
    """Return the first bytes of an object.

    Raises:
        OSError: if the object does not exist or cannot be read.
    """
    import obstore

    store, key = _open(url)
    try:
        return bytes(obstore.get_range(store, key, start=0, length=length))
    except OSError:
        raise
    except Exception as error:
        raise OSError(_explain(error)) from None


def put_file(path: Path, url: str) -> None:
    """Write a file to an object, which appears whole or not at all.

    Raises:
        PneumoscopeError: if the storage refuses it or cannot be reached.
    """
    import obstore

    store, key = _open(url)
    try:
        obstore.put(store, key, path)
    except Exception as error:
        raise PneumoscopeError(
            f"{url} cannot be written: {_explain(error)}. {path} is kept; add --resume to write it again"
        ) from None


def fetch_data(source: str) -> Path:
    """Return the path of a folder or table; that of a URL is a copy of the prefix, see `fetch_folder`.

    A table stands for all objects beside and below it.
    """
    if not is_url(source):
        return Path(source)
    if not source.lower().endswith(_TABLES):
        return fetch_folder(source)
    parent, _, name = source.rpartition("/")
    return fetch_folder(parent) / name


def fetch_folder(url: str, *, wanted: Callable[[str], object] = lambda _: True, folder: Path | None = None) -> Path:
    """Return a folder with copies of the objects below a prefix. Objects are fetched if they are new or changed.

    Objects that cannot be fetched are left out, and their number is logged. Copies of objects that are gone are
    deleted.

    Args:
        url: URL of the prefix.
        wanted: gets the file name of each object; others are left out, and their files in the folder stay.
        folder: where the copies are; by default `cache_folder`.

    Raises:
        CollectionError: see `list_objects`.
    """
    folder, prefix = folder or cache_folder(url), url.rstrip("/") + "/"
    objects = {path.removeprefix(prefix): meta for path, meta in _list(prefix) if wanted(path.rpartition("/")[2])}
    for path in list(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and wanted(path.name) and name not in objects:
            path.unlink()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        names = [name for name, meta in objects.items() if not _is_current(folder / name, meta)]
        fetch = partial(_fetch, prefix, folder)
        reasons = list(track(pool.map(fetch, names, map(objects.get, names)), "Fetching objects", total=len(names)))
    for reason, number in Counter(filter(None, reasons)).items():
        log.warning("left out: %d objects: %s", number, reason)
    return folder


def cache_folder(url: str) -> Path:
    """Return the folder of the copies of a prefix, which is created for the user only.

    It is below `XDG_CACHE_HOME`, by default `~/.cache`, and has the name of the prefix.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pneumoscope"
    digest = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    folder = root / digest / (PurePosixPath(url).name or "objects")
    for path in (root, folder.parent, folder):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def fetch_file(url: str, path: Path) -> None:
    """Copy an object to a file, for the user only.

    Raises:
        PneumoscopeError: if the object cannot be read.
    """
    import obstore

    store, key = _open(url)
    try:
        with atomic_write(path, private=True) as whole, whole.open("wb") as file:
            for chunk in obstore.get(store, key).stream():
                file.write(chunk)
    except Exception as error:
        raise PneumoscopeError(f"{url} cannot be read: {_explain(error)}") from None


def exists(url: str) -> bool:
    """Return whether an object exists.

    Raises:
        CollectionError: see `list_objects`.
    """
    import obstore

    store, key = _open(url)
    try:
        obstore.head(store, key)
    except FileNotFoundError:
        next(_list(url), None)  # or the whole bucket is missing
        return False
    except Exception as error:
        raise CollectionError(f"{url} cannot be reached: {_explain(error)}") from None
    return True


def _open(url: str) -> "tuple[ObjectStore, str]":
    """Return the store of a URL, and the key of the object."""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket or "@" in bucket or (scheme.lower() == "https" and "?" in key):
        raise CollectionError(
            "a URL without a bucket, or with credentials; expected one such as s3://bucket/folder/, and credentials in "
            "the environment"
        )
    return _open_store(f"{scheme.lower()}://{bucket}"), unquote(key) if scheme.lower() == "https" else key


@lru_cache(maxsize=8)
def _open_store(root: str) -> "ObjectStore":
    from obstore.store import HTTPStore, from_url

    open_store = HTTPStore.from_url if root.startswith("https://") else from_url
    try:
        return open_store(
            root,
            client_options={
                "timeout": f"{TIMEOUT_S}s",
                "connect_timeout": "10s",
                "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true",
            },
            retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=3 * TIMEOUT_S)},
        )
    except Exception as error:
        raise CollectionError(f"{root} cannot be opened: {_explain(error)}") from None


def _list(url: str) -> Iterator[tuple[str, Any]]:
    """Yield URL and metadata of each object of `list_objects`."""
    import obstore

    store, key = _open(url)
    if url.lower().startswith("https://") and not url.endswith("/"):
        yield url, None
        return
    root = "/".join(url.split("/", 3)[:3])
    try:
        pages = iter(obstore.list(store, prefix=key or None))
        first = next(pages, [])
        if not first and key and not key.endswith("/"):
            yield url, None
        for meta in chain(first, chain.from_iterable(pages)):
            name = meta["path"].rpartition("/")[2]
            if meta["size"] or "." in name:  # else a placeholder of a folder
                yield f"{root}/{meta['path']}", meta
    except Exception as error:
        raise CollectionError(f"{url} cannot be listed: {_explain(error)}") from None


def _is_current(path: Path, meta: Any) -> bool:
    if not path.is_file():
        return False
    status = path.stat()
    return bool(status.st_size == meta["size"] and int(status.st_mtime) == int(meta["last_modified"].timestamp()))


def _fetch(prefix: str, folder: Path, name: str, meta: Any) -> str | None:
    """Copy an object into a folder, and return why that failed, or None."""
    try:
        fetch_file(prefix + name, folder / name)
        os.utime(folder / name, (meta["last_modified"].timestamp(),) * 2)
    except PneumoscopeError as error:
        return str(error).removeprefix(f"{prefix}{name} ")
    return None


def _is_denied(error: Exception) -> bool:
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    denied = isinstance(error, PermissionError | PermissionDeniedError | UnauthenticatedError)
    return denied or any(f"status code: {code} " in str(error) for code in (401, 403))  # of a listing


def _explain(error: Exception) -> str:
    """Return the reason of an error of obstore in one line."""
    text = str(error)
    if _is_denied(error):
        return "access is denied; expected credentials in the environment, such as AWS_ACCESS_KEY_ID"
    if "NoSuchBucket" in text:
        return "the bucket does not exist"
    if isinstance(error, FileNotFoundError):
        return "the object does not exist"
    return text.partition("\n")[0].partition(": <")[0][:_MAX_REASON]
