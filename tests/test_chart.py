"""The Helm chart, rendered by Helm's own code and held against Kubernetes' schemas."""

from pathlib import Path

import helm_python
import kubernetes_validate
import pytest
import yaml

from app.contract.settings import Settings, documentation
from app.main import create_app
from worker.settings import WorkerSettings

CHART = Path(__file__).parents[1] / "docker" / "chart"
KUBERNETES = "1.34"


def rendered(**values) -> list[dict]:
    files = helm_python.Chart.load(str(CHART)).render(values=values)
    parts = [part for text in files.values() for part in yaml.safe_load_all(text) if part]
    return sorted(parts, key=lambda part: (part["kind"], part["metadata"]["name"]))


def workers(**changes) -> list[dict]:
    (usual,) = yaml.safe_load((CHART / "values.yaml").read_text())["workers"]
    return [usual | changes]


def test_helm_finds_no_fault_in_the_chart() -> None:
    found = helm_python.lint(str(CHART))

    assert found["errors"] == []
    assert [m["error"] for m in found["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"ingress": {"enabled": True, "tlsSecret": "tls", "className": "nginx"}},
        {"workers": workers(min=1, max=8, tolerations=[{"key": "gpu", "operator": "Exists"}])},
    ],
)
def test_what_it_renders_is_what_kubernetes_takes(values: dict) -> None:
    for part in rendered(**values):
        if part["kind"] != "ScaledObject":  # KEDA's own kind
            kubernetes_validate.validate(part, KUBERNETES, strict=True)


def test_workers_are_scaled_by_the_jobs_that_wait_and_run() -> None:
    parts = rendered(workers=workers(min=1, max=8))
    (scaled,) = [part for part in parts if part["kind"] == "ScaledObject"]
    (target,) = [
        p
        for p in parts
        if p["metadata"]["name"] == scaled["spec"]["scaleTargetRef"]["name"]
        and p["kind"] == "Deployment"
    ]

    assert (scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]) == (1, 8)
    assert 'kinora_jobs{model="kinora-tiny"' in scaled["spec"]["triggers"][0]["metadata"]["query"]
    assert "replicas" not in target["spec"]
    assert not [part for part in rendered() if part["kind"] == "ScaledObject"]


def test_every_container_runs_without_privileges() -> None:
    deployments = [part for part in rendered() if part["kind"] == "Deployment"]

    assert len(deployments) == 3
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


def test_other_settings_are_other_pods() -> None:
    def pods(**settings: str) -> list[dict]:
        parts = rendered(settings=settings)
        return [part["spec"]["template"] for part in parts if part["kind"] == "Deployment"]

    before, after = pods(), pods(KINORA_MAX_QUEUED="0")

    assert before == pods()
    assert [former == latter for former, latter in zip(before, after, strict=True)] == [False] * 3


def test_an_api_that_is_to_end_takes_connections_until_nobody_is_sent_to_it() -> None:
    (api,) = [
        part
        for part in rendered()
        if part["metadata"]["name"].endswith("-api") and part["kind"] == "Deployment"
    ]
    pod = api["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    waits_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert 0 < waits_s < pod["terminationGracePeriodSeconds"]


def test_the_chart_sets_only_what_kinora_reads() -> None:
    known = set(documentation(Settings)) | set(documentation(WorkerSettings)) | {"TMPDIR"}
    (settings,) = [part["data"] for part in rendered() if part["kind"] == "ConfigMap"]

    assert set(settings) <= known


def test_the_ingress_publishes_all_but_what_is_for_the_operator() -> None:
    parts = rendered(ingress={"enabled": True})
    (ingress,) = [part for part in parts if part["kind"] == "Ingress"]
    (rule,) = ingress["spec"]["rules"]
    published = [(p["path"], p["pathType"] == "Prefix") for p in rule["http"]["paths"]]
    app = create_app(Settings())
    paths = {
        r.path for routes in (app, *app.state.routers) for r in routes.routes if hasattr(r, "path")
    }

    hidden = {
        path
        for path in paths
        if not any(path == p or (below and path.startswith(f"{p}/")) for p, below in published)
    }

    assert hidden == {"/metrics", "/readyz"}
