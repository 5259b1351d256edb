"""What a study's routes answer where something lacks: stages, films, the study itself."""

import json
import shutil

import httpx
import numpy as np
import pytest
from PIL import Image

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.archive import load_result, save_result


def nets_by_id(answer):
    return {net["id"]: net for net in answer["nets"]}


def forget_stage(folder, name):
    ledger = json.loads((folder / "study.json").read_text())
    del ledger["timing"][name]
    (folder / "study.json").write_text(json.dumps(ledger))


def test_a_film_that_changed_since_the_study_is_not_shown(ask, study_copy, source, tmp_path, move_source):
    films = shutil.copytree(source, tmp_path / "films")
    move_source(study_copy, films)
    names = ask(study_copy, "/api/study")[0].json()["splits"]["test"]["names"]
    Image.effect_noise((200, 200), 60).save(films / names[0], format="JPEG")
    (films / names[1]).unlink()

    changed, gone = ask(study_copy, "/api/study/images/test/0.png", "/api/study/images/test/1.png")

    assert (changed.status_code, gone.status_code) == (404, 404)
    assert "has changed since the study" in changed.json()["error"]
    assert "is gone" in gone.json()["error"]
    assert str(tmp_path) not in changed.text + gone.text


def test_a_study_whose_films_have_gone_still_tells_its_figures(ask, study_copy, tmp_path, move_source):
    move_source(study_copy, tmp_path / "nowhere" / "chest_xray")

    told, picture = ask(study_copy, "/api/study", "/api/study/images/test/0.png")

    assert len(told.json()["nets"]) == 4
    assert told.json()["pictures"]["available"] is False
    assert "chest_xray, which is gone" in told.json()["pictures"]["reason"]
    assert picture.status_code == 404


def test_a_name_that_leads_out_of_the_collection_is_not_followed(ask, study_copy, source, tmp_path, move_source):
    films = shutil.copytree(source, tmp_path / "films")
    shutil.rmtree(study_copy / "cache")
    move_source(study_copy, films)
    Image.effect_noise((200, 200), 60).save(tmp_path / "secret.jpeg")
    path = study_copy / "stages" / "best-binary.npz"
    stage = load_result(path)
    for evaluation in stage.evaluations.values():
        evaluation.names[:] = "../secret.jpeg"
    save_result(stage, path)
    names = ask(study_copy, "/api/study")[0].json()["splits"]["test"]["names"]
    number = names.index("../secret.jpeg")

    refused = ask(study_copy, f"/api/study/images/test/{number}.png")[0]

    assert refused.status_code == 404


def test_a_study_that_is_not_finished_says_what_it_lacks(ask, study_copy):
    forget_stage(study_copy, "paper-three_class")
    (study_copy / "stages" / "best-anomaly.npz").unlink()

    told = ask(study_copy, "/api/study")[0].json()

    assert told["study"]["finished"] is False
    assert [entry["stage"] for entry in told["study"]["missing"]] == ["paper-three_class", "best-anomaly"]
    assert told["study"]["missing"][0]["title"] == "1.B Normal, bacterial or viral, paper's recipe"
    assert "paper-three_class" not in nets_by_id(told)


def test_a_collection_that_tells_no_kinds_of_pneumonia_lacks_nothing(ask, study_copy):
    path = study_copy / "stages" / "audit.npz"
    audit = load_result(path)
    audit.counts.clear()
    audit.counts.update({"train/normal": 40, "train/unknown": 80, "test/normal": 15, "test/unknown": 30})
    save_result(audit, path)
    for profile in ("paper", "best"):
        forget_stage(study_copy, f"{profile}-three_class")

    assert ask(study_copy, "/api/study")[0].json()["study"]["missing"] == []


def test_a_study_without_any_net_is_told(ask, study_copy):
    for path in (study_copy / "stages").iterdir():
        path.unlink()

    told = ask(study_copy, "/api/study")[0]

    assert told.status_code == 200
    assert told.json()["nets"] == told.json()["tables"] == []
    assert told.json()["study"]["finished"] is False


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:2000]),
        lambda path: path.write_bytes(b""),
        lambda path: shutil.copy(path.with_name("audit.npz"), path),
        lambda path: np.savez(path, something=np.zeros(3)),
    ],
    ids=["cut", "empty", "of another kind", "no result"],
)
def test_a_damaged_stage_is_named_and_the_others_shown(ask, study_copy, spoil):
    spoil(study_copy / "stages" / "best-binary.npz")

    told = ask(study_copy, "/api/study")[0].json()

    assert [entry["stage"] for entry in told["study"]["damaged"]] == ["best-binary"]
    assert told["study"]["damaged"][0]["reason"]
    assert set(nets_by_id(told)) == {"paper-binary", "paper-three_class", "best-three_class"}


def test_labels_beyond_the_classes_are_damage(ask, study_copy):
    path = study_copy / "stages" / "paper-binary.npz"
    stage = load_result(path)
    stage.evaluations["test"].labels[0] = 7
    save_result(stage, path)

    damaged = ask(study_copy, "/api/study")[0].json()["study"]["damaged"]

    assert "labels run from 0 to 7" in damaged[0]["reason"]


@pytest.mark.parametrize(
    "ledger", [None, "", "{", "[]", '{"request": {}, "timing": {}}', '{"request": 3}', b"\xff\xfe"]
)
def test_a_folder_without_a_study_is_refused_with_sense(ask, tmp_path, ledger):
    folder = tmp_path / "holiday"
    folder.mkdir()
    if ledger is not None:
        (folder / "study.json").write_bytes(ledger if isinstance(ledger, bytes) else ledger.encode())

    refused, picture = ask(folder, "/api/study", "/api/study/images/test/0.png")

    assert (refused.status_code, picture.status_code) == (404, 404)
    assert refused.json()["notice"] == RESEARCH_USE_ONLY
    assert "study" in refused.json()["error"]
    assert list(folder.iterdir()) == ([] if ledger is None else [folder / "study.json"])


def test_a_study_is_read_again_once_it_has_got_on(open_room, study_copy):
    kept = study_copy / "stages" / "best-binary.npz"
    aside = kept.rename(study_copy / "aside.npz")
    with open_room(study_dir=study_copy) as room, httpx.Client(base_url=room, timeout=120) as client:
        before = nets_by_id(client.get("/api/study").json())
        aside.rename(kept)
        after = nets_by_id(client.get("/api/study").json())

    assert "best-binary" not in before
    assert "best-binary" in after
