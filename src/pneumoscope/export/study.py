"""Export the finest classifier of a study, with its anomaly detector and reference cases, as a reader."""

import os
from dataclasses import replace
from pathlib import Path

from pneumoscope.classification.calibration_report import round_metrics
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import ExportError, PneumoscopeError
from pneumoscope.export.reader import Evidence, export_reader
from pneumoscope.inference.cards import HeatmapAudit
from pneumoscope.inference.model_set import READER_NAME
from pneumoscope.io.json_file import parse_json
from pneumoscope.io.read import read_text
from pneumoscope.io.study_folder import Ledger, find_finest, find_stage, list_other_seeds, model_dir
from pneumoscope.models.card import CARD_NAME


def export_study(
    study_dir: str | os.PathLike[str],
    dataset: Dataset,
    out_dir: str | os.PathLike[str] | None = None,
    *,
    configuration: str = "improved",
    data_license: str = "not stated",
    explain_results: str | os.PathLike[str] | None = None,
) -> Path:
    """Export the models of a study, see `export_reader`.

    Args:
        study_dir: folder of the study.
        dataset: dataset of the study with splits, from `pneumoscope.study.pipeline.reopen_study`.
        out_dir: folder of the reader; by default `reader` in `study_dir`. An existing export is replaced atomically.
        configuration: configuration of the models.
        data_license: license of the training images, for the cards.
        explain_results: `explain.json` of `pneumoscope research explain`; adds heatmap reliability to the card.

    Returns:
        The folder of the reader.

    Raises:
        PneumoscopeError: if the study has no finished models of the configuration, or the JSON file is missing, damaged
            or of other data.
        ExportError: if the outputs of an exported model differ from Keras.
    """
    study_dir = Path(study_dir)
    request = Ledger.open(study_dir, resume=True).facts["request"]
    if not request:
        raise ExportError(f"{study_dir} holds no study; expected a folder that `pneumoscope study` wrote")
    task, sha256 = find_finest(study_dir, configuration), request["data_sha256"]
    if task is None:
        raise PneumoscopeError(
            f"{study_dir} contains no finished {configuration} study. Finish it with `pneumoscope study --out "
            f"{study_dir} --resume`, or choose another --configuration."
        )
    embedding_map = find_stage(study_dir, configuration, f"map_{task}")
    pairs = () if embedding_map is None else zip(embedding_map.names.tolist(), embedding_map.coordinates, strict=True)
    evidence = Evidence(
        data_license=data_license,
        data_sha256=sha256,
        held_out=find_stage(study_dir, configuration, "held_out"),
        other_seeds=list_other_seeds(study_dir, configuration),
        coordinates=dict(pairs),
        explanation=_load_audit(explain_results, sha256, configuration),
    )
    anomaly_dir = model_dir(study_dir, configuration, "anomaly")
    return export_reader(
        model_dir(study_dir, configuration, task),
        study_dir / READER_NAME if out_dir is None else out_dir,
        dataset=dataset,
        anomaly_dir=anomaly_dir if (anomaly_dir / CARD_NAME).exists() else None,
        evidence=evidence,
    )


def _load_audit(path: str | os.PathLike[str] | None, data_sha256: str, configuration: str) -> HeatmapAudit | None:
    if path is None:
        return None
    try:
        audit = parse_json(HeatmapAudit, read_text(path))
    except (OSError, ValueError) as error:
        raise PneumoscopeError(
            f"{path} cannot be read ({error}); expected a file of `pneumoscope research explain`"
        ) from None
    if audit.data_sha256 != data_sha256:
        raise PneumoscopeError(f"{path} was measured on other data or with another seed; expected those of the study")
    if audit.configuration != configuration:
        raise PneumoscopeError(
            f"{path} was measured on the configuration {audit.configuration}, expected {configuration}; run "
            f"`pneumoscope research explain --configuration {configuration}`"
        )
    return replace(audit, metrics=round_metrics(audit.metrics))
