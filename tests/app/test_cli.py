"""The `kinora` command, run as a user runs it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from app.client import Client
from app.doctor import Trouble, check_redis, examine
from app.embedded import redis_command

ROOT = Path(__file__).parents[2]


def test_help_needs_neither_torch_nor_the_web_server(run):
    program = (
        "import sys, app.cli; "
        "print({'torch', 'fastapi', 'celery', 'sqlalchemy', 'PIL', 'httpx'} & set(sys.modules))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True
    )
    assert told.stdout.decode().strip() == "set()"
    code, out, _ = run("--help")
    assert code == 0
    for name in ("serve", "api", "worker", "courier", "generate", "list", "demo", "keys", "doctor"):
        assert f"  {name} " in out


def test_a_key_is_made_listed_and_revoked(tmp_path, run):
    code, secret, told = run("keys", "create", "me", "--data", tmp_path)
    assert code == 0
    assert secret.startswith("kinora-")
    key_id = told.splitlines()[-1].split("\t")[0]
    listed = run("keys", "list", "--data", tmp_path)[1]
    assert key_id in listed
    assert listed.strip().endswith("valid")
    assert secret.strip() not in listed
    assert run("keys", "revoke", key_id, "--data", tmp_path)[0] == 0
    assert run("keys", "list", "--data", tmp_path)[1].strip().endswith("revoked")
    code, _, said = run("keys", "revoke", key_id, "--data", tmp_path)
    assert code == 2
    assert key_id in said


def test_a_key_is_made_for_a_tenant_with_scopes_and_limits(tmp_path, run):
    data = ("--data", tmp_path)
    bounds = ["--tenant", "films", "--scope", "videos", "--scope", "models:read", "--rpm", "30"]
    assert run("keys", "create", "me", *bounds, "--storage-mb", "5", *data)[0] == 0
    listed = run("keys", "list", *data)[1]
    assert "\tfilms\tmodels:read,videos\trpm=30,storage_bytes=5000000\tvalid" in listed
    for wrong in (["--scope", "planets"], ["--rpm", "0"]):
        code, _, said = run("keys", "create", "me", *wrong, *data)
        assert (code, "Traceback" in said) == (2, False)


@pytest.mark.parametrize("address", ["mysql://h/k", "postgresql://kinora@127.0.0.1:9/kinora"])
def test_keys_say_in_a_sentence_that_the_database_is_none_or_away(tmp_path, run, address):
    code, _, said = run("keys", "list", "--data", tmp_path, KINORA_DATABASE_URL=address)
    assert code in (1, 2)
    assert said.startswith("kinora: ") and "Traceback" not in said


def test_a_bad_setting_is_one_sentence_that_names_it(tmp_path, run):
    code, _, said = run("keys", "list", "--data", tmp_path, KINORA_PORT="many")
    assert code == 2
    assert said.splitlines()[-1].startswith("kinora: KINORA_PORT is 'many'")
    assert "Traceback" not in said


def test_videos_are_listed_shown_watched_downloaded_cancelled_and_deleted(
    api, finish, tmp_path, run
):
    address, parts = api
    server = ("--server", address)
    with Client.of(address) as client:
        done = client.create({"prompt": "a red\ncube"})
        finish(parts, done["id"], b"the video")
        waiting = client.create({"prompt": "a blue ball"})
    code, listed, _ = run("list", *server)
    assert code == 0
    assert listed.splitlines() == [
        f"{waiting['id']}\tqueued\t0 %\t64x64\ta blue ball",
        f"{done['id']}\tcompleted\t100 %\t64x64\ta red cube",
    ]
    assert json.loads(run("show", done["id"], *server)[1])["status"] == "completed"
    assert run("watch", done["id"], *server)[0] == 0
    target = tmp_path / "video.mp4"
    assert run("download", done["id"], "-o", target, *server)[0] == 0
    assert target.read_bytes() == b"the video"
    code, _, said = run("download", waiting["id"], "-o", tmp_path / "none.mp4", *server)
    assert (code, "queued" in said) == (2, True)
    assert not (tmp_path / "none.mp4").exists()
    assert "cancelled" in run("cancel", waiting["id"], *server)[1]
    assert run("watch", waiting["id"], *server)[0] == 1
    for video in (done, waiting):
        assert run("delete", video["id"], *server)[0] == 0
    assert run("list", *server)[1] == ""
    code, _, said = run("show", "video_none", *server)
    assert (code, "no video" in said) == (2, True)


def test_the_api_does_not_start_on_a_taken_port(api, run):
    address, parts = api
    port = address.rpartition(":")[2]
    code, _, err = run("api", "--port", port, **parts.settings.to_env())
    assert code == 2
    assert f"port {port}" in err
    assert "Traceback" not in err


def test_the_api_does_not_open_itself_to_the_network_without_a_key(settings, run):
    code, _, err = run("api", "--host", "0.0.0.0", **settings.to_env())
    assert code == 2
    assert "kinora keys create" in err


def test_the_doctor_knows_the_services_own_port_and_tells_no_password(api, run):
    _, parts = api
    settings = parts.settings.to_env() | {"KINORA_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0"}
    code, out, err = run("doctor", **settings)
    assert code == 1, err
    assert "ok   port: Kinora answers at http://127.0.0.1:" in out
    assert "FAIL redis: redis://:***@127.0.0.1:1/0" in out
    assert "hunter2" not in out + err


def test_the_doctor_looks_at_the_folder_that_is_written_to(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    elsewhere = replace(settings, database_url="postgresql://db/kinora", storage_url="s3://clips")
    for used, folder in ((settings, settings.data), (elsewhere, tmp_path / "uploads")):
        _, disk, *_ = islice(examine(used, (), embedded=False), 2)
        assert disk.said.endswith(f" {folder}")


def test_the_doctor_of_a_worker_misses_no_package_of_the_api(settings):
    program = "import sys; sys.modules['fastapi'] = None; from app.cli import main; main()"
    told = subprocess.run(
        [sys.executable, "-c", program, "doctor"],
        cwd=ROOT,
        env=os.environ | settings.to_env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert "ok   port: not needed here" in told.stdout


@pytest.mark.parametrize(("policy", "is_fine"), [("noeviction", True), ("allkeys-lru", False)])
def test_the_doctor_needs_no_config_command_of_redis(settings, tmp_path, until, policy, is_fine):
    path = tmp_path / "hosted.sock"
    options = ["--maxmemory-policy", policy, "--rename-command", "CONFIG", ""]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*redis_command(tmp_path / "hosted", path), *options], stdout=log, stderr=log
        )
    try:
        until(path.exists)
        hosted = replace(settings, redis_url=f"unix://{path}")
        if is_fine:
            assert "version" in check_redis(hosted)
        else:
            with pytest.raises(Trouble, match="evicts keys"):
                check_redis(hosted)
    finally:
        server.terminate()
        server.wait()


def test_the_api_says_in_a_sentence_that_the_database_is_away(run):
    away = "postgresql://kinora:hunter2@127.0.0.1:1/kinora"
    code, _, err = run("api", KINORA_DATABASE_URL=away)
    assert code == 1
    assert err.startswith("kinora api: the database does not answer: ")
    assert "Traceback" not in err and "hunter2" not in err
    code, _, err = run("api", KINORA_DATABASE_URL="mysql://else/where")
    assert (code, err.startswith("kinora api: KINORA_DATABASE_URL names")) == (2, True)


def test_serve_takes_the_checkpoint_of_the_environment(tmp_path, run):
    folder = tmp_path / "none"
    code, _, err = run("serve", "--data", tmp_path / "data", KINORA_CHECKPOINT=str(folder))
    assert code == 2
    assert f"{folder}" in err


def test_the_doctor_finds_what_is_wrong_and_says_how_to_mend_it(settings, tmp_path, run):
    dead = replace(settings, redis_url=f"unix://{tmp_path}/none.sock", port=1)
    broken = tmp_path / "checkpoint"
    (broken / "vae").mkdir(parents=True)
    (broken / "model_index.json").write_text("{}")
    code, out, err = run("doctor", "--checkpoint", broken, **dead.to_env())
    assert code == 1, err
    lines = dict.fromkeys(line[:4] for line in out.splitlines())
    assert "FAIL" in lines
    assert "ok  " in lines
    for wrong in ("redis: ", "checkpoint checkpoint: ", "to mend"):
        assert wrong in out
    assert "ok   ffmpeg" in out
    assert "ok   database" in out
    assert "KINORA_REDIS_URL" in out
    assert "Traceback" not in err
