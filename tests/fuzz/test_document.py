"""The OpenAPI document against the application: every call, both encodings, right and wrong."""

import os
from contextlib import suppress
from dataclasses import replace

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from app.contract.job import Output, output_key
from app.contract.settings import Settings
from app.main import create_app

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "4"))
#: All but `positive_data_acceptance`: what a model can do is more than a schema can say.
WANTED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
)
SOUGHT = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def app(tmp_path_factory, redis_url, migrated):
    """The application, and no worker to render anything."""
    folder = tmp_path_factory.mktemp("document")
    (folder / "kinora.db").write_bytes(migrated)
    app = create_app(Settings(data=folder, redis_url=redis_url, image_wait_s=0.01))
    with TestClient(app):
        yield app


@pytest.fixture(scope="module")
def register(app, capabilities):
    """Says that there is a model, as its worker would from time to time."""
    able = replace(capabilities, modes=("text", "image", "edit", "extend", "loop"))
    return lambda: app.state.parts.store.models.register("worker-1", able)


@pytest.fixture(scope="module")
def document(app):
    _, key = app.state.parts.store.keys.create("fuzz")
    document = schemathesis.openapi.from_asgi("/openapi.json", app)
    document.config.update(headers={"Authorization": f"Bearer {key}"})
    return document


@pytest.fixture(scope="module")
def finished(app, spec):
    """Makes a finished video, and gives its id."""
    parts = app.state.parts
    (key,) = parts.store.keys.list()

    def finished():
        job, _ = parts.store.create(replace(spec, model="done"), owner=key.tenant)
        job = parts.store.claim("done", "worker-2", 60)
        video = output_key(job.id, job.attempt, "video.mp4")
        parts.blobs.put(video, b"0123456789", "video/mp4")
        parts.store.complete(job.id, job.attempt, Output(key=video, size_bytes=10))
        return job.id

    return finished


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_answer_is_as_described(document, register, finished, subtests, mode):
    """In a loop, as the plugin that schemathesis has for pytest does not work with pytest 9."""
    for result in document.get_all_operations():
        operation = result.ok()
        register()

        @SOUGHT
        @given(operation.as_strategy(generation_mode=mode), st.booleans())
        def check(case, real):
            if real and mode is GenerationMode.POSITIVE:
                name_a_finished_video(case, finished)
            if mode is GenerationMode.NEGATIVE and leaves_nothing(case):
                return
            answer = case.call()
            if answer.status_code == 504:  # nobody renders here
                assert case.path.startswith("/v1/images/")
            else:
                case.validate_response(answer, checks=CHECKS.get_by_names(WANTED))

        # Some calls leave nothing that could be sent wrongly.
        expected = (Unsatisfiable,) if mode is GenerationMode.NEGATIVE else ()
        with subtests.test(operation.label), suppress(*expected):
            check()


def leaves_nothing(case):
    """Whether a form has a list without items, of which nothing is sent that could be wrong."""
    form = case.media_type == "multipart/form-data" and isinstance(case.body, dict)
    return form and any(value in ([], {}) for value in case.body.values())


def name_a_finished_video(case, finished):
    """Puts the id of a video that exists wherever the case has one."""
    if "video_id" in case.path_parameters:
        case.path_parameters["video_id"] = finished()
    if isinstance(case.body, dict):
        for field, value in case.body.items():
            if isinstance(value, dict) and "id" in value:
                case.body[field] = {"id": finished()}
