"""The DICOMweb client with a stand-in for the connection: signing in, failures, and what is not fetched twice."""

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import ComputedRadiographyImageStorage
from requests import ConnectionError as RequestsConnectionError
from requests import HTTPError
from requests.exceptions import SSLError

from pneumoscope.data.dicom import OWN_OBJECT
from pneumoscope.errors import ImageError, PneumoscopeError
from pneumoscope.pacs import dicomweb
from pneumoscope.pacs.delivery import DeliveryError
from pneumoscope.pacs.dicom_output import derive_instance_uids
from pneumoscope.pacs.dicomweb import Round, Server, stow

URL = "http://127.0.0.1:8042/dicom-web"
READER: Any = SimpleNamespace(models=SimpleNamespace(id="model"))


class Client:
    """A PACS with the series `1.1` of images, and `1.2` of this package."""

    def __init__(self, *images: str) -> None:
        self.images, self.fetched, self.stored = list(images), [], []
        self.answer: Dataset | Exception = Dataset()

    def search_for_series(self, *, search_filters: dict[str, str], **_: Any) -> list[Any]:
        assert search_filters == {"StudyDate": "20260102-", "Modality": "CR"}
        names = {"1.1": "Chest", "1.2": "Pneumoscope heatmap, research use only"}
        return [encode(StudyInstanceUID="1", SeriesInstanceUID=uid, SeriesDescription=names[uid]) for uid in names]

    def search_for_instances(self, study: str, **_: Any) -> list[Any]:
        images = [(uid, "1.1") for uid in self.images] + [("9", "1.2")]
        kind = ComputedRadiographyImageStorage
        return [encode(SOPInstanceUID=uid, SeriesInstanceUID=series, SOPClassUID=kind) for uid, series in images]

    def retrieve_instance(self, study: str, series: str, instance: str) -> Any:
        self.fetched.append(instance)
        return SimpleNamespace(save_as=lambda stream: stream.write(b"content"))

    def store_instances(self, objects: list[Dataset]) -> Dataset:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.stored += [one.SOPInstanceUID for one in objects]
        return self.answer


def encode(**elements: str) -> Any:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset.to_json_dict()


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that lets servers connect to a client, and predictions yield results or raise an error."""

    def replace(client: Client, error: Exception | None = None) -> Client:
        def make_results(reader: Any, content: bytes, *, send_rejected: bool) -> tuple[None, list[Any]]:
            if error:
                raise error
            uids = derive_instance_uids(client.fetched[-1], "model", "balanced")
            return None, [SimpleNamespace(SOPInstanceUID=uid) for uid in uids]

        monkeypatch.setattr(Server, "connect", lambda self: client)
        monkeypatch.setattr(dicomweb, "make_results", make_results)
        return client

    return replace


def run(round_: Round) -> list[tuple[str, str]]:
    return list(round_.run(date(2026, 1, 2)))


def make_round(**options: Any) -> Round:
    return Round(Server(URL), READER, ["CR"], **options)


@pytest.mark.parametrize(("text", "header"), [("abc\n", "Bearer abc"), ("Basic dXNl\n", "Basic dXNl")])
def test_a_token_is_sent(tmp_path: Path, text: str, header: str) -> None:
    (tmp_path / "token").write_text(text)
    assert Server(URL, tmp_path / "token").connect()._session.headers["Authorization"] == header


def test_only_missing_results_are_stored(connect: Any) -> None:
    complete, partly = (derive_instance_uids(uid, "model", "balanced") for uid in ("1.5", "1.6"))
    client = connect(Client("1.5", *complete, "1.6", partly[0], "1.7"))
    outcomes = dict(run(make_round()))
    assert (outcomes["1.5"], outcomes["1.6"], outcomes["1.7"]) == ("stored already", "sent", "sent")
    assert "9" not in client.fetched and "1.5" not in client.fetched
    new = derive_instance_uids("1.7", "model", "balanced")
    assert [uid for uid in client.stored if uid in (*complete, *partly, *new)] == [partly[1], *new]


def test_a_dry_run_fetches_nothing(connect: Any) -> None:
    client = connect(Client("1.5"))
    assert run(make_round(dry_run=True)) == [("1.5", "would be read")]
    assert client.fetched == client.stored == []


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(ImageError("damaged DICOM file"), "failed: damaged DICOM file"), (ImageError(OWN_OBJECT), dicomweb.OWN)],
)
def test_an_image_without_results_is_fetched_once(connect: Any, error: Exception, outcome: str) -> None:
    client, round_ = connect(Client("1.5"), error), make_round()
    assert run(round_) == [("1.5", outcome)]
    assert run(round_) == [] and client.fetched == ["1.5"] and client.stored == []


def make_failure(reason: int) -> Dataset:
    item, answer = Dataset(), Dataset()
    item.ReferencedSOPInstanceUID, item.FailureReason = "1.5", reason
    answer.FailedSOPSequence = [item]
    return answer


def make_fault(status: int) -> HTTPError:
    return HTTPError("Doe^Jane", response=SimpleNamespace(status_code=status))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "message", "reached"),
    [
        (make_failure(0xA900), "does not store 1.5: reason 0xA900$", True),
        (make_fault(409), "dicom-web: HTTP status 409$", True),
        (make_fault(503), "dicom-web: HTTP status 503$", False),
        (make_fault(401), "dicom-web: HTTP status 401; sign in with --token-file or --client-cert$", False),
        (RequestsConnectionError("Doe^Jane"), "dicom-web: cannot be reached$", False),
        (SSLError("Doe^Jane"), "dicom-web: the TLS certificate is not accepted; name .* REQUESTS_CA_BUNDLE$", False),
    ],
)
def test_a_failed_store_is_no_delivery(connect: Any, answer: Any, message: str, reached: bool) -> None:
    client = connect(Client("1.5"))
    client.answer = answer
    with pytest.raises(DeliveryError, match=message) as caught:
        stow([], server=Server(URL))
    assert caught.value.reached is reached
    round_ = make_round()
    assert run(round_)[0][1].startswith("failed: ")
    client.answer = make_failure(0x0111)  # is there already
    assert run(round_) == [("1.5", "sent")]


def test_an_answer_that_is_no_dicom_is_an_error(connect: Any) -> None:
    client = connect(Client())
    client.search_for_series = lambda **_: (_ for _ in ()).throw(ValueError("Doe^Jane"))
    with pytest.raises(PneumoscopeError, match=r"dicom-web: ValueError$"):
        run(make_round())


def test_one_image_that_cannot_be_fetched_does_not_end_the_round(connect: Any) -> None:
    client = connect(Client("1", "2"))
    fetch = client.retrieve_instance

    def retrieve(study: str, series: str, instance: str) -> Any:
        if instance == "1":
            raise HTTPError("secret", response=SimpleNamespace(status_code=404))
        return fetch(study, series, instance)

    client.retrieve_instance = retrieve
    outcomes = list(Round(Server(URL), READER, ["CR"]).run(date(2026, 1, 2)))
    assert outcomes == [("1", f"failed: {dicomweb.describe_fault(make_fault(404))}"), ("2", "sent")]


def test_an_unexpected_error_of_an_image_hides_its_message(connect: Any) -> None:
    connect(Client("1"), KeyError("Doe^Jane"))
    round_ = Round(Server(URL), READER, ["CR"])
    assert list(round_.run(date(2026, 1, 2))) == [("1", "failed: KeyError")]
    assert list(round_.run(date(2026, 1, 2))) == []


def test_a_conflict_with_duplicates_only_is_a_success(connect: Any) -> None:
    client, body = connect(Client()), {"00081198": {"Value": [{"00081197": {"Value": [0x0111]}}]}}
    client.answer = HTTPError(response=SimpleNamespace(status_code=409, json=lambda: body))
    stow([Dataset()], server=Server(URL))
    body["00081198"]["Value"][0]["00081197"]["Value"] = [0x0122]
    with pytest.raises(DeliveryError, match="HTTP status 409"):
        stow([Dataset()], server=Server(URL))
