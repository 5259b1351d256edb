"""`listen` and `pacs` beside a real Orthanc on loopback, with the included models."""

import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from pneumoscope.pacs.results import OWN
from pneumoscope.pacs.spool import Spool

pytestmark = pytest.mark.integration
PROGRAM = (sys.executable, "-m", "pneumoscope.cli.main")
AUTO_ROUTING = "function OnStoredInstance(id, tags, metadata, origin)\n  SendToModality(id, 'pneumoscope')\nend\n"
MEMORY_GROWTH = 48 << 20


class Listener:
    """The command `listen` as a process, with its spool, and Orthanc as destination."""

    def __init__(self, orthanc: Any, folder: Path, port: int) -> None:
        self.orthanc, self.folder, self.port = orthanc, folder, port
        self.spool = Spool(folder / "spool")
        self.process: subprocess.Popen[str]

    def start(self, wait_for: Callable[..., Any], *, stow: bool = False) -> None:
        """Start it; results return with STOW-RS or C-STORE."""
        to = ["--stow", self.orthanc.web] if stow else ["--to", f"ORTHANC@127.0.0.1:{self.orthanc.dicom_port}"]
        log = self.folder / "listen.log"
        words = ["listen", "--spool", self.spool.folder, "--from", "ORTHANC@127.0.0.1", "--from", "DCMSEND"]
        words += [*to, "--port", self.port, "--send-rejected"]
        with log.open("w") as stream:
            self.process = subprocess.Popen([*PROGRAM, *map(str, words)], stderr=stream, text=True)
        wait_for(lambda: "listening as PNEUMOSCOPE" in log.read_text(), seconds=300)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(120) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def count_finished(self) -> int:
        status = self.spool.get_status()
        return status.done + status.bad

    def count_outcomes(self) -> Counter[str]:
        return Counter(entry.outcome for entry in self.spool.get_status().last_done)

    def measure_memory(self) -> int:
        """Return the resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) << 10  # type: ignore[index]


@pytest.fixture
def listening(tmp_path: Path, make_orthanc: Any, find_port: Any, wait_for: Any) -> Callable[..., Any]:
    """Return a context of a running Orthanc and a running listener that know each other."""

    @contextmanager
    def run(*, stow: bool = False, **settings: Any) -> Iterator[Listener]:
        port = find_port()
        modalities = {"pneumoscope": ["PNEUMOSCOPE", "127.0.0.1", port]}
        with make_orthanc(DicomModalities=modalities, **settings).running() as orthanc:
            listener = Listener(orthanc, tmp_path, port)
            listener.start(wait_for, stow=stow)
            try:
                yield listener
            finally:
                listener.kill()

    return run


def dcmsend(port: int, called: str, paths: list[Path]) -> None:
    """Send files with the transfer syntax that they have."""
    words = ["dcmsend", "-aet", "DCMSEND", "-aec", called, "127.0.0.1", str(port), *map(str, paths)]
    subprocess.run(words, check=True, timeout=120, capture_output=True)


def validate(paths: list[Path]) -> None:
    """Fail where dciodvfy finds an error in a result; without dciodvfy, nothing is checked."""
    assert paths
    if shutil.which("dciodvfy") is None:
        return
    for path in paths:
        done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, timeout=60, errors="replace")
        assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []


@pytest.fixture(params=["phantoms", pytest.param("samples", marks=pytest.mark.real_data)])
def radiographs(request: Any, tmp_path: Path, draw_radiographs: Any, write_radiographs: Any) -> list[Path]:
    """Return DICOM files: phantoms, or the real samples."""
    if request.param == "phantoms":
        return list(write_radiographs(tmp_path / "phantoms", draw_radiographs(3)))
    paths = sorted((request.getfixturevalue("real_data").parent / "dicom").glob("*.dcm"))
    if not paths:
        pytest.skip("no DICOM samples beside the real radiographs")
    return paths


def test_each_image_gets_its_results_once(
    listening: Any, radiographs: list[Path], tmp_path: Path, wait_for: Any
) -> None:
    uids = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in radiographs}
    with listening() as listener:
        orthanc = listener.orthanc

        def send(*, finished: int) -> list[str]:
            dcmsend(listener.port, "PNEUMOSCOPE", radiographs)
            wait_for(lambda: listener.count_finished() == finished, seconds=300)
            return list(orthanc.list_uids())

        results = send(finished=len(radiographs))
        assert len(results) == 2 * len(uids) and not uids & set(results)
        validate(orthanc.export(tmp_path / "results"))
        assert send(finished=2 * len(radiographs)) == results

        listener.stop()
        shutil.rmtree(listener.spool.folder)
        listener.start(wait_for)
        dcmsend(listener.port, "PNEUMOSCOPE", radiographs)
        listener.kill()  # with images in the queue
        listener.start(wait_for)
        wait_for(lambda: listener.count_finished() == len(radiographs), seconds=300)
        assert orthanc.list_uids() == results
        status = listener.spool.get_status()
        assert {entry.outcome for entry in status.last_done} == {"sent"} and status.bad == 0
        text = (tmp_path / "listen.log").read_text()
        assert all(uid in text for uid in uids)
        assert "Doe" not in text and "MRN" not in text


def test_whole_studies_with_own_results_add_nothing(
    listening: Any, draw_radiographs: Any, write_radiographs: Any, tmp_path: Path, wait_for: Any
) -> None:
    (tmp_path / "route.lua").write_text(AUTO_ROUTING)
    paths = write_radiographs(tmp_path / "images", draw_radiographs(2))
    with listening(stow=True, LuaScripts=[str(tmp_path / "route.lua")]) as listener:
        orthanc = listener.orthanc
        dcmsend(orthanc.dicom_port, "ORTHANC", paths)  # Orthanc sends the images on, and then the results
        wait_for(lambda: listener.count_finished() == 4 and len(orthanc.list_uids()) == 6, seconds=300)
        before = orthanc.list_uids()
        answer = orthanc.send("studies", "pneumoscope")
        assert (answer["FailedInstancesCount"], answer["InstancesCount"]) == (0, 6)
        wait_for(lambda: listener.count_outcomes()["sent"] == 4, seconds=300)
        outcomes = wait_for(lambda: listener.count_outcomes()[OWN] >= 4 and listener.count_outcomes())
        assert orthanc.list_uids() == before
        assert set(outcomes) == {"sent", OWN} and listener.spool.get_status().bad == 0


def run_pacs(*words: str) -> list[str]:
    done = subprocess.run([*PROGRAM, "pacs", *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Doe" not in done.stdout + done.stderr
    return [line.partition(": ")[2] for line in done.stdout.splitlines()]


def count_stored(orthanc: Any) -> int:
    """Return how often an instance was stored."""
    changes = orthanc.ask("changes?limit=1000")["Changes"]
    return sum(change["ChangeType"] == "NewInstance" for change in changes)


def test_a_second_run_of_pacs_adds_nothing(
    make_orthanc: Any, draw_radiographs: Any, write_radiographs: Any, tmp_path: Path
) -> None:
    paths = write_radiographs(tmp_path / "images", draw_radiographs(2))
    paths += write_radiographs(tmp_path / "old", draw_radiographs(1, StudyDate="20200101"))
    paths += write_radiographs(tmp_path / "other", draw_radiographs(1, Modality="MG"))
    with make_orthanc().running() as orthanc:
        dcmsend(orthanc.dicom_port, "ORTHANC", paths)
        words = [orthanc.web, "--since", "1d"]
        assert run_pacs(*words, "--dry-run") == ["would be read"] * 2
        assert len(orthanc.list_uids()) == 4
        assert run_pacs(*words) == ["sent"] * 2
        added = orthanc.list_uids()
        assert len(added) == 8
        stored = count_stored(orthanc)
        assert run_pacs(*words) == ["stored already"] * 2
        assert orthanc.list_uids() == added and count_stored(orthanc) == stored
        validate([path for path in orthanc.export(tmp_path / "all") if "Pneumoscope" in str(dcmread(path))])


def test_memory_does_not_grow_with_the_images(
    listening: Any, draw_radiographs: Any, write_radiographs: Any, tmp_path: Path, wait_for: Any
) -> None:
    paths = write_radiographs(tmp_path / "images", draw_radiographs(60))
    with listening() as listener:
        dcmsend(listener.port, "PNEUMOSCOPE", paths[:20])
        wait_for(lambda: listener.count_finished() == 20, seconds=600)
        before = listener.measure_memory()
        dcmsend(listener.port, "PNEUMOSCOPE", paths[20:])
        wait_for(lambda: listener.count_finished() == 60, seconds=600)
        assert listener.measure_memory() - before < MEMORY_GROWTH
