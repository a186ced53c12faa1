"""Everything a worker has at hand, all of it real."""

from dataclasses import replace

import pytest
import torch

from app.contract.blobs import Blobs
from app.contract.previews import Previews
from app.contract.queue import Queue
from app.contract.settings import Settings
from app.contract.store import Store
from model import Pipeline
from worker.settings import WorkerSettings
from worker.workplace import Workplace


@pytest.fixture(scope="session")
def pipeline(checkpoint):
    torch.set_num_threads(1)
    return Pipeline.load(checkpoint)


@pytest.fixture
def place(tmp_path, migrated, redis_url, pipeline):
    """Everything that `render` needs, with its own database and blob folder."""
    (tmp_path / "kinora.db").write_bytes(migrated)
    settings = Settings(data=tmp_path, redis_url=redis_url, heartbeat_s=0.05)
    place = Workplace(
        pipeline=pipeline,
        store=Store.open(settings.database_url),
        blobs=Blobs.open(settings),
        queue=Queue(redis_url),
        previews=Previews(redis_url),
        settings=settings,
        worker=WorkerSettings(encode_preset="ultrafast", patience_s=0),
        usable=2**40,
        scratch=tmp_path / "scratch",
    )
    yield place
    place.queue.close()
    place.store.close()


@pytest.fixture(scope="session")
def spec(spec):
    return replace(spec, model="random-ti2v", height=96, steps=3)
