"""A prediction as a DICOM structured report: Measurement Report, template TID 1500 (PS3.16)."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.data.finding_codes import find_code
from pneumoscope.inference.reading import REJECTED, UNCERTAIN
from pneumoscope.labels import SEPARATOR

if TYPE_CHECKING:
    from highdicom.sr import ComprehensiveSR, MeasurementsAndQualitativeEvaluations
    from pydicom import Dataset
    from pydicom.sr.coding import Code

SCHEME = "99PNEUMOSCOPE"
DECISIONS = {
    UNCERTAIN: ("82334004", "SCT", "Indeterminate"),
    REJECTED: ("REJECTED", SCHEME, "Rejected: not a valid frontal chest radiograph"),
}
_YES_NO = {True: ("373066001", "SCT", "Yes"), False: ("373067005", "SCT", "No")}
_PROCEDURE = ("399208008", "SCT", "Plain X-ray of chest")
_NO_UNITS, _PERCENT = ("1", "UCUM", "no units"), ("%", "UCUM", "Percent")


def make_report(
    reading: Mapping[str, Any], capture: "Dataset", radiograph: "Dataset | None", series: Mapping[str, Any]
) -> "ComprehensiveSR":
    """Return a reading as a Comprehensive SR with the probabilities as coded findings (TID 1501).

    Args:
        reading: values of a reading, see `make_dicom_reading`.
        capture: secondary capture of the same reading. The report takes its patient and study.
        radiograph: SOP class and UIDs of the radiograph; None where it cannot be referenced.
        series: series, instance and equipment of the report, as arguments of `ComprehensiveSR`.
    """
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from highdicom.sr import ComprehensiveSR, MeasurementReport

    content = MeasurementReport(
        observation_context=_describe_observer(),
        procedure_reported=_code(_PROCEDURE),
        imaging_measurements=_list_groups(reading, capture, radiograph),
    )
    return ComprehensiveSR(
        evidence=[capture] if radiograph is None else [capture, radiograph],
        content=content[0],
        **series,
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, name="Pneumoscope")],
        is_complete=True,
        is_final=False,
        is_verified=False,
    )


def _describe_observer() -> Any:
    from highdicom import UID
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObservationContext, ObserverContext
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=UID.from_uuid(str(uuid5(NAMESPACE_URL, f"pneumoscope/{__version__}"))),
        name="Pneumoscope",
        manufacturer_name="Pneumoscope",
        model_name=f"Pneumoscope {__version__}",
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device))


def _list_groups(
    reading: Mapping[str, Any], capture: "Dataset", radiograph: "Dataset | None"
) -> list["MeasurementsAndQualitativeEvaluations"]:
    from highdicom.sr import Measurement, QualitativeEvaluation

    in_distribution, labels = reading.get("in_distribution"), reading["label_set"]
    decision = _own("DECISION", "Decision at the operating point")
    pairs = [
        (_own("INTENDED_USE", "Intended use"), _own("RESEARCH_ONLY", RESEARCH_USE_ONLY)),
        *((decision, code_name(name)) for name in reading["decision"].split(SEPARATOR)),
        (_own("OPERATING_POINT", "Operating point"), _code_point(str(reading["operating_point"]))),
    ]
    if in_distribution is not None:
        concept = _own("IN_DISTRIBUTION", "In distribution (similar to the training images)")
        pairs.append((concept, _code(_YES_NO[bool(in_distribution)])))
    evaluations = [QualitativeEvaluation(*pair) for pair in pairs]
    make_group = partial(_make_group, reading, capture, radiograph)
    overview = make_group("decision", evaluations=evaluations)
    in_group = any(reading["decision"] in (name, *members) for name, members in labels.groups.items())
    comments = ["reason", "label_trust"] if in_group else ["reason"]
    _add_capture(overview, capture)
    _add_comments(overview, [str(reading.get(name) or "") for name in comments])
    groups = [overview, *_list_findings(reading, make_group)]
    scores = [
        ("anomaly_score", _own("ANOMALY_SCORE", "Anomaly score (distance from normal radiographs)"), _NO_UNITS),
        ("anomaly_percentile", _own("ANOMALY_PERCENT", "Percentile among held-out normal radiographs"), _PERCENT),
    ]
    numbers = [
        Measurement(name, float(reading[key]), _code(unit))
        for key, name, unit in scores
        if reading.get(key) is not None
    ]
    if numbers:
        groups.append(make_group("anomaly", measurements=numbers))
        _add_comments(groups[-1], [str(reading.get("flag_trust") or "")])
    return groups


def _list_findings(
    reading: Mapping[str, Any], make_group: "Callable[..., MeasurementsAndQualitativeEvaluations]"
) -> "list[MeasurementsAndQualitativeEvaluations]":
    """Return a group for each name with a probability; it states the threshold, if there is one."""
    from highdicom.sr import Measurement
    from pydicom.sr.codedict import codes

    groups = []
    for name in reading["label_set"].scored:
        if reading.get(f"p_{name}") is not None:
            numbers = [Measurement(codes.DCM.Probability, float(reading[f"p_{name}"]), _code(_NO_UNITS))]
            if name in reading["thresholds"]:
                limit = _own("DECISION_LIMIT", "Threshold of the probability")
                numbers.append(Measurement(limit, float(reading["thresholds"][name]), _code(_NO_UNITS)))
            groups.append(make_group(name, finding=code_name(name), measurements=numbers))
    return groups


def code_name(name: str) -> "Code":
    """Return the SNOMED CT code of a class or decision, or else a code of this package with the name as its meaning."""
    if name in DECISIONS:
        return _code(DECISIONS[name])
    if known := find_code(name):
        return _code((known[0], "SCT", known[1]))
    digest = hashlib.sha256(name.encode()).hexdigest()[:11].upper()
    return _own(f"CLASS{digest}", name.replace("\\", "/")[:64])


def _code_point(point: str) -> "Code":
    """Return the operating point as a code. The algorithm parameters state the value of a user-defined threshold."""
    if point.isalpha():
        return _own(point.upper(), f"{point} operating point")
    return _own("THRESHOLD", "User-defined threshold")


def _make_group(
    reading: Mapping[str, Any],
    capture: "Dataset",
    radiograph: "Dataset | None",
    name: str,
    *,
    finding: "Code | None" = None,
    measurements: list[Any] | None = None,
    evaluations: list[Any] | None = None,
) -> "MeasurementsAndQualitativeEvaluations":
    from highdicom import UID, sr
    from pydicom.sr.codedict import codes

    algorithm = sr.AlgorithmIdentification(
        name="pneumoscope",
        version=__version__,
        parameters=[f"model {reading['model']}", f"operating point {reading['operating_point']}"],
        family=codes.DCM.ArtificialIntelligence,
    )
    sources = None
    if radiograph is not None:
        sources = [sr.SourceImageForMeasurementGroup(radiograph.SOPClassUID, radiograph.SOPInstanceUID)]
    uid = UID.from_uuid(str(uuid5(NAMESPACE_URL, f"pneumoscope/{capture.SOPInstanceUID}/{name}")))
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid, f"Pneumoscope {name}"),
        algorithm_id=algorithm,
        finding_type=finding,
        measurements=measurements,
        qualitative_evaluations=evaluations,
        source_images=sources,
    )


def _add_capture(group: "MeasurementsAndQualitativeEvaluations", capture: "Dataset") -> None:
    """Add a reference to the heatmap to a group (TID 1501 is extensible)."""
    from highdicom.sr import ImageContentItem
    from pydicom.sr.codedict import codes

    uids = (capture.SOPClassUID, capture.SOPInstanceUID)
    group[0].ContentSequence.append(ImageContentItem(codes.DCM.Saliency, *uids, relationship_type="CONTAINS"))


def _add_comments(group: "MeasurementsAndQualitativeEvaluations", comments: list[str]) -> None:
    from highdicom.sr import TextContentItem
    from pydicom.sr.codedict import codes

    for comment in filter(None, comments):
        group[0].ContentSequence.append(TextContentItem(codes.DCM.Comment, comment, relationship_type="CONTAINS"))


def _code(triple: tuple[str, str, str]) -> "Code":
    from pydicom.sr.coding import Code

    return Code(*triple)


def _own(value: str, meaning: str) -> "Code":
    return _code((value, SCHEME, meaning))
