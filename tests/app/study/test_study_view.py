"""What a study's routes answer: its numbers as they are, its images, its pages, and sense where something lacks."""

import io
import shutil
from dataclasses import replace

import httpx
import numpy as np
import pytest
from PIL import Image

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.app.study_view import PAGE_POLICY
from pneumoscope.evaluation.operating_points import choose_operating_points
from pneumoscope.radiographs.audit import audit_dataset
from pneumoscope.radiographs.image import load_image
from pneumoscope.radiographs.phantoms import phantom_dataset
from pneumoscope.radiographs.splits import split_dataset


@pytest.fixture(scope="module")
def client(study_room):
    with httpx.Client(base_url=study_room, timeout=120) as opened:
        yield opened


@pytest.fixture(scope="module")
def answer(client):
    found = client.get("/api/study")
    assert found.status_code == 200, found.text
    return found.json()


def read_png(response):
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(response.content)))


def nets_by_id(answer):
    return {net["id"]: net for net in answer["nets"]}


def test_the_numbers_are_those_of_the_study(answer, study_parts):
    _, stages, _ = study_parts

    assert answer["notice"] == RESEARCH_USE_ONLY
    assert answer["study"]["finished"] and not answer["study"]["missing"]
    assert list(nets_by_id(answer)) == ["paper-binary", "best-binary", "paper-three_class", "best-three_class"]
    for name, net in nets_by_id(answer).items():
        for split, evaluation in stages[name].evaluations.items():
            told = net["evaluations"][split]
            names = answer["splits"][split]["names"]
            assert [names[image] for image in told["images"]] == evaluation.names.tolist()
            np.testing.assert_array_equal(np.float32(told["probabilities"]), evaluation.probabilities)
            np.testing.assert_allclose(told["scores"], evaluation.probabilities[:, 1:].sum(axis=1), atol=1e-6)
            assert told["labels"] == evaluation.labels.tolist()
            assert told["confusion"] == evaluation.confusion.tolist()
            accuracy = evaluation.metrics["accuracy"]
            assert told["metrics"]["accuracy"] == {
                "title": "Accuracy",
                "value": accuracy.value,
                "low": accuracy.low,
                "high": accuracy.high,
                "n": accuracy.n,
            }
        assert net["curve"]["val_loss"] == stages[name].curve.val_loss.tolist()


def test_images_of_one_child_share_a_number(answer, study_parts):
    dataset, _, _ = study_parts
    patient_of = dict(zip(dataset.table["name"], dataset.table["patient"], strict=True))
    for split in answer["splits"].values():
        pairs = {(number, patient_of[name]) for number, name in zip(split["patients"], split["names"], strict=True)}
        assert len(pairs) == len(set(split["patients"])) == len({patient for _, patient in pairs})


def test_an_image_that_only_one_task_knows_keeps_its_number(answer):
    names = answer["splits"]["test"]["names"]
    unknown = names.index("test/PNEUMONIA/film-of-unknown-kind.jpeg")
    nets = nets_by_id(answer)

    assert answer["splits"]["test"]["subtypes"][unknown] == "pneumonia"
    assert unknown in nets["best-binary"]["evaluations"]["test"]["images"]
    assert unknown not in nets["best-three_class"]["evaluations"]["test"]["images"]


def test_thresholds_are_chosen_on_validation_alone(answer, study_parts):
    _, stages, _ = study_parts
    validation = stages["best-three_class"].evaluations["val"]
    scores = validation.probabilities[:, 1:].astype(np.float64).sum(axis=1)

    points = nets_by_id(answer)["best-three_class"]["operating_points"]

    assert points == choose_operating_points((validation.labels > 0).astype(int), np.minimum(scores, 1))


def test_anomaly_scores_come_with_their_thresholds_and_images(answer, study_parts):
    _, stages, _ = study_parts
    told, anomaly = answer["anomalies"][-1], stages["best-anomaly"]

    assert told["id"] == "best-anomaly"
    assert {name: entry["value"] for name, entry in told["thresholds"].items()} == anomaly.thresholds
    np.testing.assert_array_equal(np.float32(told["test"]["errors"]), anomaly.scores)
    assert told["test"]["images"] == list(range(len(anomaly.scores)))
    normals = [answer["splits"]["val"]["subtypes"][image] for image in told["validation"]["images"]]
    assert set(normals) == {"normal"} and len(normals) == len(anomaly.validation_scores)


def test_tables_hold_every_figure_with_its_interval(answer, study_parts):
    _, stages, _ = study_parts
    table = answer["tables"][0]
    auroc = stages["best-binary"].evaluations["test"].metrics["auroc"]

    assert [column["split"] for column in table["columns"]] == ["validation", "test"] * 2
    row = next(row for row in table["rows"] if row["title"] == "AUROC")
    assert row["cells"][-1] == {"value": f"{auroc.value:.3f}", "interval": f"[{auroc.low:.3f}, {auroc.high:.3f}]"}


def test_a_picture_is_what_the_nets_saw(client, answer, study_parts):
    dataset, _, _ = study_parts
    rows = {name: row for row, name in enumerate(dataset.table["name"])}
    for split in ("val", "test"):
        for number in (0, 5):
            seen = read_png(client.get(f"/api/study/images/{split}/{number}.png"))
            name = answer["splits"][split]["names"][number]
            np.testing.assert_array_equal(seen, dataset.images[rows[name]])


def test_a_film_keeps_its_own_proportions(ask, study_copy, source, tmp_path, move_source):
    films = shutil.copytree(source, tmp_path / "films")
    tall = films / "test" / "NORMAL"
    name = sorted(path.name for path in tall.iterdir())[0]
    Image.effect_noise((600, 1500), 60).save(tall / name, format="JPEG")
    shutil.rmtree(study_copy / "cache")
    move_source(study_copy, films)
    names = ask(study_copy, "/api/study")[0].json()["splits"]["test"]["names"]
    number = names.index(f"test/NORMAL/{name}")

    film, seen = ask(study_copy, *(f"/api/study/images/test/{number}.png?view={view}" for view in ("film", "net")))

    assert read_png(film).shape == (1024, 410)
    np.testing.assert_array_equal(read_png(seen), np.rint(load_image(tall / name, size=128) * 255))


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/api/study/images/test/45.png", 404, "holds images 0 to 44"),
        ("/api/study/images/test/-1.png", 404, "no image -1"),
        ("/api/study/images/train/0.png", 400, "split"),
        ("/api/study/images/test/..%2f..%2fstudy.json.png", 404, ""),
        ("/api/study/images/test/0.png?view=huge", 400, "view"),
        ("/study/audit", 404, "audit.html"),
    ],
)
def test_what_is_not_there_is_refused_with_sense(client, address, status, said):
    refused = client.get(address)

    assert refused.status_code == status
    assert said in refused.text
    assert "Traceback" not in refused.text


def test_no_path_of_the_server_is_told(client, source, study_folder):
    told = client.get("/api/study").text

    assert str(source.parent) not in told
    assert str(study_folder.parent) not in told


def test_phantoms_drawn_in_memory_are_drawn_again(ask, leave, study_parts, tmp_path):
    _, stages, _ = study_parts
    drawn = phantom_dataset(num_train=30, num_test=9, seed=4)
    dataset = split_dataset(drawn, seed=4, val_share=0.3)
    test = dataset.split("test")
    stage = stages["best-binary"]
    evaluation = stage.evaluations["test"]
    few = replace(
        evaluation,
        labels=evaluation.labels[: len(test)],
        probabilities=evaluation.probabilities[: len(test)],
        patients=test.table["patient"].to_numpy().astype(str),
        names=test.table["name"].to_numpy().astype(str),
    )
    result = replace(stage, evaluations={"test": few})
    folder = leave(tmp_path / "out", None, dataset, {"audit": audit_dataset(drawn), "best-binary": result})

    told, picture = ask(folder, "/api/study", "/api/study/images/test/8.png")

    assert told.json()["study"]["phantoms"] is True
    assert told.json()["pictures"]["available"] is True
    np.testing.assert_array_equal(read_png(picture), test.images[8])


def test_the_report_runs_no_script_and_fetches_nothing(client):
    report = client.get("/study/report")

    assert report.status_code == 200
    assert report.headers["content-type"].startswith("text/html")
    assert report.headers["content-security-policy"] == PAGE_POLICY
    assert "script-src" not in PAGE_POLICY and "default-src 'none'" in PAGE_POLICY and "sandbox" in PAGE_POLICY
    assert report.headers["x-content-type-options"] == "nosniff"


def test_a_report_that_leads_out_of_the_folder_is_not_served(ask, study_copy, tmp_path):
    (tmp_path / "secret.html").write_text("secret")
    (study_copy / "report.html").unlink()
    (study_copy / "report.html").symlink_to(tmp_path / "secret.html")

    told, report = ask(study_copy, "/api/study", "/study/report")

    assert told.json()["pages"]["report"] is None
    assert report.status_code == 404


def test_nothing_is_written_to_the_study(client, study_folder):
    before = {path: path.stat().st_mtime_ns for path in study_folder.rglob("*")}
    for address in ("/api/study", "/api/study/images/test/1.png", "/study/report", "/study"):
        assert client.get(address).status_code == 200

    assert {path: path.stat().st_mtime_ns for path in study_folder.rglob("*")} == before
