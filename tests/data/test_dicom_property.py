"""Random DICOM headers and pixel formats: an image error at most, and the gray levels of the plain image otherwise."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pneumoscope.data.decode import decode_radiograph
from pneumoscope.data.image import load_gray
from pneumoscope.data.remarks import Remarks
from pneumoscope.errors import ImageError

pytestmark = [
    pytest.mark.filterwarnings("ignore:Invalid value for VR"),
    pytest.mark.filterwarnings("ignore:The value length"),
]
EXAMPLES = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]
# Elements that must not change the gray levels, whatever they hold.
TEXTS = st.text(st.characters(codec="latin-1", exclude_categories=["C"]), max_size=70)
HARMLESS = {
    "NumberOfFrames": st.sampled_from(["", "0", "1", "1.0", "one"]),
    "RescaleSlope": st.sampled_from(["", "1", "1,0", "1.0E0", "x"]),
    "RescaleIntercept": st.sampled_from(["", "0", "0,0", "-0", "none"]),
    "WindowCenter": st.sampled_from(["", "2048", "x", "127", "40", "1e99"]),
    "WindowWidth": st.sampled_from(["", "0", "x", "255", "0,5"]),
    "PatientName": TEXTS,
    "PatientID": TEXTS,
    "PatientAge": st.sampled_from(["", "062Y", "62", "abc", "9999Y", "-1Y"]),
    "StudyDate": st.sampled_from(["", "20240230", "2024", "99999999", "20240102"]),
    "ImageComments": TEXTS,
    "PixelAspectRatio": st.sampled_from(["1\\1", "1", "0\\0", "a"]),
}
# Elements whose values may also make the file unreadable.
RISKY = {
    "NumberOfFrames": st.sampled_from(["-1", "2", "1e9", "\x00"]),
    "PhotometricInterpretation": st.sampled_from(["MONOCHROME1", "MONOCHROME3", "", "RGB"]),
    "BodyPartExamined": TEXTS,
    "ViewPosition": TEXTS,
    "Modality": TEXTS,
    "RescaleSlope": st.sampled_from(["-1", "0", "1e30", "nan"]),
    "PixelPaddingValue": st.sampled_from(["0", "x"]),
    "SOPClassUID": st.sampled_from(["1.2.840.10008.5.1.4.1.1.2", "x"]),
}


def add_elements(dataset, elements):
    for keyword, value in elements.items():
        dataset.add_new(keyword, "LO", value)  # as text, because pydicom would not write these values
    return dataset


@EXAMPLES
@given(
    bits=st.integers(8, 16),
    signed=st.booleans(),
    inverted=st.booleans(),
    syntax=st.sampled_from(SYNTAXES),
    elements=st.fixed_dictionaries({}, optional=HARMLESS),
)
def test_gray_levels_do_not_depend_on_the_format(
    bits, signed, inverted, syntax, elements, image, make_dataset, encode, make_png
):
    # With 8 bits nothing is stretched, and a window of 12 bits may be meant as it is.
    elements = {name: value for name, value in elements.items() if bits == 12 or not name.startswith("Window")}
    pixels = 255 - image if inverted else image
    photometric = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset = make_dataset(pixels, bits=bits, signed=signed, syntax=syntax, PhotometricInterpretation=photometric)
    if syntax == ImplicitVRLittleEndian:  # there, the VR is that of the dictionary
        elements = {name: value for name, value in elements.items() if name in ("PatientID", "ImageComments")}
    decoded = load_gray(encode(add_elements(dataset, elements)), remarks=Remarks())
    np.testing.assert_allclose(decoded, load_gray(make_png(image)), atol=1 / 255 + 1e-6)


@EXAMPLES
@given(
    elements=st.fixed_dictionaries({}, optional=HARMLESS | RISKY),
    rows=st.sampled_from([80, 79, 81, 0, 65535]),
    stored=st.integers(0, 17),
    cut=st.integers(0, 400),
)
def test_any_header_gives_an_image_or_an_image_error(elements, rows, stored, cut, image, make_dataset, encode):
    dataset = add_elements(make_dataset(image, bits=12), elements)
    dataset.Rows, dataset.BitsStored = rows, stored
    data = encode(dataset)
    try:
        decoded = decode_radiograph(data[: len(data) - cut], size=64)
    except ImageError as error:
        assert "\n" not in str(error)
        return
    assert decoded.pixels.shape == (64, 64)
    assert decoded.pixels.dtype == np.uint8
