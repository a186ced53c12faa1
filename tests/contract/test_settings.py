from dataclasses import fields
from pathlib import Path

import pytest

from app.contract.settings import Settings, SettingsError, documentation
from worker.settings import WorkerSettings


def test_every_setting_is_read_from_its_variable():
    settings = Settings.from_env(
        {"KINORA_DATA": "/srv/kinora", "KINORA_PORT": "9000", "KINORA_FETCH_PRIVATE": "true"}
    )
    assert (Path("/srv/kinora"), 9000, True) == (
        settings.data,
        settings.port,
        settings.fetch_private,
    )
    assert settings.database_url == "sqlite:////srv/kinora/kinora.db"
    assert settings.storage_url == "file:///srv/kinora/blobs"


def test_a_child_process_gets_the_same_settings(tmp_path):
    settings = Settings(data=tmp_path, port=1234, lease_s=7.5, fetch_private=True)
    assert settings == Settings.from_env(settings.to_env())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("FETCH_PRIVATE", "perhaps"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "loud"),
        ("HEARTBEAT_S", "30"),
        ("LEASE_S", "900"),
        ("SWEEP_S", "0"),
        ("EXPIRE_HOURS", "-1"),
        ("ORPHAN_HOURS", "-1"),
    ],
)
def test_a_value_that_cannot_be_used_names_its_variable(name, value):
    with pytest.raises(SettingsError, match=f"KINORA_{name}"):
        Settings.from_env({f"KINORA_{name}": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENCODE_PRESET", "quick"),
        ("ENCODE_CRF", "0"),
        ("ENCODE_CRF", "52"),
        ("METRICS_PORT", "65536"),
        ("OFFLOAD", "perhaps"),
    ],
)
def test_what_every_job_of_a_worker_would_fail_by_is_refused(name, value):
    with pytest.raises(SettingsError, match=f"KINORA_{name}"):
        WorkerSettings.from_env({f"KINORA_{name}": value})


@pytest.mark.parametrize("cls", [Settings, WorkerSettings])
def test_every_setting_is_documented_by_a_sentence(cls):
    documented = documentation(cls)
    assert {f"KINORA_{f.name.upper()}" for f in fields(cls)} == set(documented)
    assert all(sentence.endswith(".") for _, sentence in documented.values())


def test_a_worker_without_a_checkpoint_says_so(tmp_path):
    for environ in ({}, {"KINORA_CHECKPOINT": str(tmp_path)}):
        with pytest.raises(SettingsError, match="KINORA_CHECKPOINT"):
            _ = WorkerSettings.from_env(environ).served_id


def test_the_served_name_is_the_checkpoints_own(tmp_path):
    folder = tmp_path / "some-wan"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    assert WorkerSettings(checkpoint=folder).served_id == "some-wan"
    (folder / "kinora.json").write_text('{"model_id": "kinora-tiny"}')
    assert WorkerSettings(checkpoint=folder).served_id == "kinora-tiny"
    assert WorkerSettings(checkpoint=folder, model_id="mine").served_id == "mine"


@pytest.mark.parametrize(
    ("host", "url"), [("0.0.0.0", "http://127.0.0.1:80"), ("::1", "http://[::1]:80")]
)
def test_the_address_is_one_that_can_be_called(host, url):
    assert url == Settings(host=host, port=80).url
