"""Read mutations of every kind of file, and print what went wrong: run by `test_fuzz.py` in a process of its own."""

import copy
import hashlib
import io
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from pneumoscope.data import dicom_frame
from pneumoscope.data.image import load_image
from pneumoscope.errors import ImageError, PneumoscopeError
from pneumoscope.phantoms.phantom import draw_phantoms

NUM_MUTATIONS = 200
NUM_IN_SUBPROCESS = 4
SIDE = 64
HEAD = 700  # most of the header of a file
EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\1", b"\xff\x4f\xff\x51")
VALUES = (
    None,
    math.nan,
    1e308,
    10**400,
    -1,
    "",
    "x" * 10_000,
    "\ud800",
    "\x1b[31m",
    "../../etc",
    [],
    {},
    True,
    [[]] * 9,
)

Read = Callable[[bytes], object]


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Return data that are cut, or have bytes changed, removed, repeated or inserted, mostly in the header."""
    changed = bytearray(data)
    end = min(len(data), HEAD) if rng.random() < 0.6 else len(data)
    start = int(rng.integers(0, end))
    stop = start + int(rng.integers(1, 40))
    kind = rng.integers(0, 6)
    if kind == 0:
        return data[:start]
    if kind == 1:
        del changed[start:stop]
    elif kind == 2:
        changed[start:start] = changed[start:stop] * int(rng.integers(1, 5))
    elif kind == 3:
        value = EXTREMES[rng.integers(len(EXTREMES))]
        changed[start : start + len(value)] = value
    else:
        for place in rng.integers(0, end, int(rng.integers(1, 9))):
            changed[place] = int(rng.integers(0, 256))
    return bytes(changed)


def mutate_json(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a JSON text with one value replaced or removed, or its bytes changed."""
    if rng.random() < 0.3:
        return mutate(data, rng)
    values = holder = copy.deepcopy(json.loads(data))
    while True:
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = keys[rng.integers(len(keys))]
        if not (isinstance(holder[key], dict | list) and holder[key]) or rng.random() < 0.2:
            break
        holder = holder[key]
    if rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = VALUES[rng.integers(len(VALUES))]
    return json.dumps(values).encode()


def mutate_arrays(data: bytes, rng: np.random.Generator) -> bytes:
    """Return an archive with one array of another shape, type or content, or its bytes changed."""
    if rng.random() < 0.5:
        return mutate(data, rng)
    with np.load(io.BytesIO(data)) as archive:
        arrays = dict(archive)
    name = list(arrays)[rng.integers(len(arrays))]
    array = arrays.pop(name)
    kind = rng.integers(0, 6)
    if kind < 5:
        changes = (array[..., None], array[:-1] if array.ndim else array, array.astype("S9"), np.array(b"x"))
        arrays[name] = changes[kind] if kind < 4 else np.full(array.shape, np.nan)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def list_images() -> Iterator[tuple[str, bytes, Read]]:
    """Yield name, content and reader of a phantom in each format."""
    image = draw_phantoms(1, size=SIDE, seed=0).images[0]
    streams = {kind: io.BytesIO() for kind in ("JPEG", "PNG", "JPEG2000")}
    for kind, stream in streams.items():
        Image.fromarray(image).save(stream, kind, **({"no_jp2": True} if kind == "JPEG2000" else {}))
    packed = {kind: encapsulate([stream.getvalue()]) for kind, stream in streams.items()}
    files = {kind: streams[kind].getvalue() for kind in ("JPEG", "PNG")}
    files["DICOM"] = encode_dicom(image)
    files["DICOM JPEG"] = encode_dicom(image, JPEGBaseline8Bit, packed["JPEG"])
    files["DICOM JPEG 2000"] = encode_dicom(image, JPEG2000Lossless, packed["JPEG2000"])
    files["DICOM RLE"] = encode_dicom(image, RLELossless)
    files["DICOM JPEG-LS"] = encode_dicom(image, JPEGLSLossless)
    for name, data in files.items():
        yield name, data, lambda changed: load_image(changed, size=32)


def encode_dicom(image: np.ndarray, syntax: str = ExplicitVRLittleEndian, pixels: bytes = b"") -> bytes:
    """Return a computed radiograph; without `pixels`, pydicom compresses it."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax if pixels else ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    dataset.PatientName, dataset.Modality, dataset.PhotometricInterpretation = "DOE^JANE", "CR", "MONOCHROME2"
    dataset.Rows, dataset.Columns = image.shape
    dataset.WindowCenter, dataset.WindowWidth = 128, 256
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 8, 8, 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels or image.tobytes()
    dataset["PixelData"].VR = "OB"
    if syntax in (RLELossless, JPEGLSLossless):
        dataset.compress(syntax, generate_instance_uid=False)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def list_model_files() -> Iterator[tuple[str, bytes, Read]]:
    """Yield name, content and reader of each file of a model folder."""
    from pneumoscope.inference import model_set
    from pneumoscope.inference.cards import ClassifierCard, load_card
    from pneumoscope.models.settings import TrainingSettings
    from pneumoscope.models.settings_file import read_settings, settings_to_toml

    folder = Path(tempfile.mkdtemp())
    card = model_set.load_cards(model_set.SHIPPED_DIR).references

    def read_file(name: str, read: Callable[[], object]) -> Read:
        def write_and_read(changed: bytes) -> object:
            (folder / name).write_bytes(changed)
            return read()

        return write_and_read

    (folder / "model.onnx").write_bytes(b"")
    text = json.loads((model_set.SHIPPED_DIR / "classifier" / "card.json").read_bytes())
    text["files"] = {"model.onnx": hashlib.sha256(b"").hexdigest()}
    yield (
        "card.json",
        json.dumps(text).encode(),
        read_file("card.json", lambda: load_card(ClassifierCard, folder, kind="classifier")),
    )

    def read_references() -> object:
        return model_set._load_references(folder, card)

    with np.load(model_set.SHIPPED_DIR / "references" / "reference_cases.npz") as arrays:
        cases = io.BytesIO()
        np.savez_compressed(cases, **{name: values[:20] for name, values in arrays.items()})
    detector = (model_set.SHIPPED_DIR / "references" / "ood_detector.npz").read_bytes()
    (folder / "ood_detector.npz").write_bytes(detector)
    yield "reference_cases.npz", cases.getvalue(), read_file("reference_cases.npz", read_references)
    (folder / "reference_cases.npz").write_bytes(cases.getvalue())
    yield "ood_detector.npz", detector, read_file("ood_detector.npz", read_references)
    settings = settings_to_toml(TrainingSettings()).encode()
    yield "settings.toml", settings, read_file("settings.toml", lambda: read_settings(folder / "settings.toml"))
    graph = draw_graph()
    if graph:
        yield "model.onnx", graph, read_file("model.onnx", lambda: model_set.Graph(folder / "model.onnx", 1).session)


def draw_graph() -> bytes:
    """Return a small convolution as ONNX; empty without the package onnx."""
    try:
        import onnx
    except ImportError:
        return b""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    values = [helper.make_tensor_value_info(name, kind, [1, 1, 8, 8]) for name in ("x", "y")]
    weights = onnx.numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(
        helper.make_graph([node], "g", values[:1], values[1:], [weights]), ir_version=8, opset_imports=opset
    )
    return bytes(model.SerializeToString())


def list_study_files() -> Iterator[tuple[str, bytes, Read]]:
    """Yield name, content and reader of each file of a study."""
    from pneumoscope.io.archive import load_result, save_result
    from pneumoscope.io.results import Classification, Estimate, Evaluation, LabelSet, LearningCurve
    from pneumoscope.io.study_folder import Ledger
    from pneumoscope.report.study_page import load_results

    folder, labels = Path(tempfile.mkdtemp()), LabelSet(("normal", "pneumonia"), "normal")
    names, half = np.array(["a.png", "b.png"]), np.full((2, 2), 0.5, np.float32)
    estimate = {"accuracy": Estimate(0.5, 0.0, 1.0, 2)}
    evaluation = Evaluation("test", labels, np.array([0, 1]), half, names, names, estimate, np.eye(2, dtype=int))
    curve = LearningCurve(*np.ones((4, 3)), chosen_epoch=1, seconds=1.0)
    path = folder / "improved-binary.npz"
    save_result(Classification(labels, 10, curve, {"test": evaluation}), path)

    def read(name: str, open_file: Callable[[Path], object]) -> Read:
        def write_and_read(changed: bytes) -> object:
            (folder / name).write_bytes(changed)
            return open_file(folder / name)

        return write_and_read

    yield path.name, path.read_bytes(), read(path.name, load_result)
    ledger = json.dumps({"request": {"seed": 0}, "timing": {"audit": 1.5}, "left_out": {"explain": "no heatmaps"}})
    yield "study.json", ledger.encode(), read("study.json", lambda path: Ledger.open(path.parent, resume=True))
    fields = ("tasks", "left_out", "data", "settings", "timing", "versions", "hardware")
    results = json.dumps({"schema_version": "3.0", **{name: {"a": [1, 2]} for name in fields}})
    yield "results.json", results.encode(), read("results.json", load_results)


def fuzz(files: Iterator[tuple[str, bytes, Read]]) -> dict[str, object]:
    """Read all mutations; return other errors, counts of values by file, most processor seconds, and peak bytes."""
    failures, values, slowest = [], {}, 0.0
    decode = dicom_frame._decode_in_subprocess
    for place, (name, data, read) in enumerate(files):
        dicom_frame._decode_in_subprocess = decode
        read(data)
        values[name] = 0
        change = {".json": mutate_json, ".npz": mutate_arrays}.get(Path(name).suffix, mutate)
        for number in range(NUM_MUTATIONS):
            # A process for each file would take too long; its start and its errors are the same for all.
            dicom_frame._decode_in_subprocess = decode if number < NUM_IN_SUBPROCESS else _reject
            changed = change(data, np.random.default_rng([place, number]))
            started = time.process_time()
            try:
                read(changed)
                values[name] += 1
            except PneumoscopeError:
                pass
            except Exception as error:  # what must not happen
                failures.append(f"{name}, mutation {number}: {type(error).__name__}: {error}"[:300])
            slowest = max(slowest, time.process_time() - started)
    return {"failures": failures, "values": values, "slowest": slowest, "peak": measure_peak()}


def _reject(*_: object) -> np.ndarray:
    raise ImageError("not decoded")


def measure_peak() -> int:
    """Return the most resident memory of this process in bytes; 0 where the system does not report it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)


if __name__ == "__main__":
    lists = {"images": list_images, "model files": list_model_files, "study files": list_study_files}
    sys.stdout.write(json.dumps(fuzz(lists[sys.argv[1]]())))
