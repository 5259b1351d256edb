"""SNOMED CT codes of class names, for DICOM."""

from pneumoscope.labels import fold_name

_CODES = {
    "normal": ("17621005", "Normal"),
    "pneumonia": ("233604007", "Pneumonia"),
    "bacterial": ("53084003", "Bacterial pneumonia"),
    "viral": ("75570004", "Viral pneumonia"),
    "bacterial pneumonia": ("53084003", "Bacterial pneumonia"),
    "viral pneumonia": ("75570004", "Viral pneumonia"),
    "pleural effusion": ("60046008", "Pleural effusion"),
    "pneumothorax": ("36118008", "Pneumothorax"),
}


def find_code(name: str) -> tuple[str, str] | None:
    """Return code and meaning in SNOMED CT of a class name; None if the code is not known here.

    Example:
        >>> find_code("Pneumothorax"), find_code("cats")
        (('36118008', 'Pneumothorax'), None)
    """
    return _CODES.get(fold_name(name))
