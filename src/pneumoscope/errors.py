"""Errors that a user can fix.

Every message says what came, what was expected and how to fix it. The command line prints
the message alone and exits with 2; any other error that escapes is a defect of this package.
"""


class PneumoscopeError(Exception):
    """Base of all errors that a user can fix."""


class ImageError(PneumoscopeError):
    """A file cannot be read as a radiograph."""


class CollectionError(PneumoscopeError):
    """A folder or manifest is not laid out as expected."""


class LeakError(PneumoscopeError):
    """A patient is in more than one split."""


class DownloadError(PneumoscopeError):
    """The data set could not be fetched."""


class ModelError(PneumoscopeError):
    """A trained model is missing, damaged, or from another version."""


class ExportError(PneumoscopeError):
    """A trained model cannot be exported, or its export gives other predictions."""


class TrainingError(PneumoscopeError):
    """A training cannot start, or its model predicts the same for every image."""


class MissingExtraError(PneumoscopeError):
    """An optional part of the package is not installed."""
