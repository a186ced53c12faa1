"""Clusters for the fault tests: one on SQLite and a folder, one on PostgreSQL and an S3 server."""

import pytest

from bench.harness.cluster import Cluster
from bench.harness.trials import Trials


@pytest.fixture(scope="module", params=["sqlite, folder", "postgresql, s3"])
def trials(request, tmp_path_factory, checkpoint):
    """Two workers and two couriers, with what is expected of their jobs learned."""
    database, storage = request.param.split(", ")
    folder = tmp_path_factory.mktemp("cluster")
    with Cluster(
        folder,
        checkpoint,
        database=database,
        storage=storage,
        workers=2,
        couriers=2,
        clock=database == "postgresql",
    ) as cluster:
        trials = Trials(cluster)
        trials.learn()
        yield trials
        trials.client.close()
