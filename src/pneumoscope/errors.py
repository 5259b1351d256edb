"""What a user can mend, as one small hierarchy.

    PneumoscopeError
    ├── ImageError        a file that cannot be read as a radiograph
    ├── CollectionError   a folder or manifest that is not laid out as expected
    ├── LeakError         a patient on both sides of a split
    ├── DownloadError     the data set could not be fetched
    ├── ModelError       a trained model that is missing, damaged or of another version
    ├── ExportError       a trained model that does not answer alike outside of Keras
    ├── TrainingError     a training that cannot start, or ended dead
    └── MissingExtraError an optional part of the package that is not installed

Every message says what came, what was expected and how to mend it. The command line prints
the message alone and exits with 2; anything else that escapes is a defect of ours.
"""


class PneumoscopeError(Exception):
    """Base of all errors that a user can mend."""


class ImageError(PneumoscopeError):
    """A file cannot be read as a radiograph."""


class CollectionError(PneumoscopeError):
    """A folder or manifest is not laid out as expected."""


class LeakError(PneumoscopeError):
    """A patient stands on both sides of a split that must keep patients apart."""


class DownloadError(PneumoscopeError):
    """The data set could not be fetched."""


class ModelError(PneumoscopeError):
    """A trained model is missing, damaged, or from another version."""


class ExportError(PneumoscopeError):
    """A trained model cannot be exported, or its export does not answer as it does."""


class TrainingError(PneumoscopeError):
    """A training cannot start, or ended with a dead net."""


class MissingExtraError(PneumoscopeError):
    """An optional part of the package is not installed."""
