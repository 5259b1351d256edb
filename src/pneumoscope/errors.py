"""Errors that a user can fix.

Every message states the invalid value, the expected value and how to fix it. The command line prints the message
without a traceback and exits with 2. Any other exception is a bug.
"""


class PneumoscopeError(Exception):
    """Base class of all errors that a user can fix."""


class ImageError(PneumoscopeError):
    """A file cannot be read as a radiograph."""


class CollectionError(PneumoscopeError):
    """A folder or manifest does not have the expected layout."""


class LabelError(PneumoscopeError):
    """Class names, groups or a mapping of labels are not usable."""


class LeakError(PneumoscopeError):
    """A patient is in more than one split."""


class DownloadError(PneumoscopeError):
    """The data set cannot be downloaded."""


class ModelError(PneumoscopeError):
    """A trained model is missing, damaged, or from another version."""


class ExportError(PneumoscopeError):
    """A trained model cannot be exported, or the exported model predicts differently."""


class TrainingError(PneumoscopeError):
    """A training cannot start, or the trained model predicts the same for every image."""


class MissingExtraError(PneumoscopeError):
    """An optional dependency is not installed."""


def escape_controls(text: str) -> str:
    r"""Return a text whose characters that are not printable are escaped, so that it cannot control a terminal.

    Example:
        >>> print(escape_controls("a\x1b[31m\u202eb"))
        a\x1b[31m\u202eb
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
