"""compose.yaml and the Dockerfiles, read by the programs that would run them."""

import json
import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from app.contract.settings import Settings, documentation
from worker.settings import WorkerSettings

ROOT = Path(__file__).parents[1]
TOOLS = Path(sysconfig.get_path("scripts"))
SECRETS = {
    "POSTGRES_PASSWORD": "p",
    "REDIS_PASSWORD": "r",
    "S3_ACCESS_KEY_ID": "i",
    "S3_SECRET_ACCESS_KEY": "s",
    "GRAFANA_PASSWORD": "g",
}
OURS = ("api", "worker", "courier")


def compose(*files: str, environment: dict[str, str] = SECRETS) -> subprocess.CompletedProcess[str]:
    """The real Compose, which needs no engine to read its files."""
    arguments = [part for file in files for part in ("-f", file)]
    return subprocess.run(
        [TOOLS / "docker-compose", *arguments, "config", "--format", "json"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def services() -> dict[str, dict]:
    done = compose("compose.yaml")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]


def test_compose_runs_the_same_processes_as_the_embedded_service(services: dict) -> None:
    assert set(services) == {*OURS, "postgres", "redis", "s3", "prometheus", "grafana"}


@pytest.mark.parametrize("secret", SECRETS)
def test_compose_refuses_to_start_without_a_secret(secret: str) -> None:
    others = {name: value for name, value in SECRETS.items() if name != secret}

    done = compose("compose.yaml", environment=others)

    assert done.returncode != 0
    assert f"set {secret} in .env" in done.stderr


def test_the_example_names_every_variable_of_compose() -> None:
    used = re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "compose.yaml").read_text())
    named = re.findall(r"^#?([A-Z0-9_]+)=", (ROOT / "docker/env.example").read_text(), re.MULTILINE)

    assert set(used) == set(named)


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_a_service_are_ones_that_kinora_reads(services: dict, name: str) -> None:
    given = {k: v for k, v in services[name]["environment"].items() if k.startswith("KINORA_")}

    known = Settings.from_env(given).to_env() | documentation(WorkerSettings)

    assert set(given) <= set(known)


@pytest.mark.parametrize("name", OURS)
def test_no_empty_value_hides_one_of_kinora_env(services: dict, name: str) -> None:
    assert "" not in services[name]["environment"].values()


def test_postgres_is_not_healthy_while_it_answers_at_its_socket_alone(services: dict) -> None:
    assert "127.0.0.1" in services["postgres"]["healthcheck"]["test"]


def test_only_the_api_and_grafana_are_published_and_to_this_machine_alone(services: dict) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}

    assert set(published) == {"api", "grafana"}
    assert {port["host_ip"] for ports in published.values() for port in ports} == {"127.0.0.1"}


def test_no_store_and_no_worker_can_reach_the_internet(services: dict) -> None:
    inside_only = {n for n, service in services.items() if set(service["networks"]) == {"inside"}}

    assert inside_only == {"worker", "postgres", "redis", "s3", "prometheus"}


def test_every_container_runs_without_privileges_and_within_limits(services: dict) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert int(service["mem_limit"]) > 0 and service["cpus"] > 0, name
        assert service["pids_limit"] > 0 and service["healthcheck"]["test"], name
        if name != "s3":  # its image will have it so
            assert service["read_only"] is True, name
            assert name in OURS or service["user"].split(":")[0] != "0", name


def test_our_images_do_not_run_as_root() -> None:
    for name in ("app", "worker"):
        users = re.findall(
            r"^USER (.+)$", (ROOT / f"docker/{name}.Dockerfile").read_text(), re.MULTILINE
        )
        assert users == ["10001"]


def test_no_image_is_taken_at_its_latest_version(services: dict) -> None:
    images = [service["image"] for service in services.values()]

    assert [image for image in images if ":" not in image or image.endswith(":latest")] == []


def test_compose_lint_finds_nothing_grave() -> None:
    done = subprocess.run(
        [TOOLS / "compose-lint", "--fail-on", "high", ROOT / "compose.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


def test_without_a_gpu_the_worker_asks_for_none() -> None:
    done = compose("compose.yaml", "docker/compose.cpu.yaml")

    assert done.returncode == 0, done.stderr
    assert "deploy" not in json.loads(done.stdout)["services"]["worker"]


@pytest.mark.parametrize("name", ["app", "worker"])
def test_hadolint_finds_nothing_in_a_dockerfile(name: str) -> None:
    done = subprocess.run(
        [TOOLS / "hadolint", ROOT / f"docker/{name}.Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
