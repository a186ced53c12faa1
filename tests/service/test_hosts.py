"""Two hosts, each with an API and a worker, share one database, one Redis and one S3 server."""

import pytest

from app.contract.job import Status
from bench.harness import hosts
from bench.harness.cluster import Cluster
from bench.harness.trials import LONG, SHORT, Trials

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(not hosts.available(), reason="network namespaces need root and iproute2"),
]


@pytest.fixture(scope="module")
def both(tmp_path_factory, checkpoint):
    """The hosts a and b, and trials of their cluster."""
    folder = tmp_path_factory.mktemp("hosts")
    with Cluster(
        folder, checkpoint, database="postgresql", storage="s3", apis=0, workers=0, forked=False
    ) as cluster:
        _, secret = cluster.store.keys.create("trials")
        with hosts.Hosts(cluster, checkpoint, ["a", "b"]) as both:
            trials = Trials(cluster)
            trials.client.headers["authorization"] = f"Bearer {secret}"
            yield both, trials
            trials.client.close()


def test_work_is_shared_and_either_api_tells_the_same_of_it(both):
    _, trials = both
    jobs = [trials.create(SHORT | {"seed": seed}) for seed in range(100, 112)]
    for job in jobs:
        trials.wait(job, lambda j: j.finished, "a clip")
    a, b = trials.cluster.urls
    for job in jobs:
        told = [trials.client.get(f"{url}/v1/videos/{job}").json() for url in (a, b)]
        assert told[0] == told[1]
        assert told[0]["status"] == "completed"
        clips = [trials.client.get(f"{url}/v1/videos/{job}/content").content for url in (a, b)]
        assert clips[0] == clips[1] != b""
    made = [sum(trials_said(trials, name, job) for job in jobs) for name in ("a", "b")]
    assert sum(made) == len(jobs)
    assert min(made) > 0


def trials_said(trials, name, job):
    """How often the worker of a host says that it completed a job."""
    log = trials.cluster.parts[f"worker-{name}"].log.read_text().splitlines()
    return sum(job in line and '"job.completed"' in line for line in log)


def test_a_host_that_is_cut_off_loses_its_jobs_and_does_no_harm_when_it_is_back(both):
    network, trials = both
    fields = LONG | {"size": "192x192", "seed": 7}
    undisturbed = trials.create(fields)
    trials.wait_completed(undisturbed, fields)

    job = trials.create(fields)
    holder = trials.wait(job, lambda j: j.progress > 0.1 and j.worker, "a worker").worker
    name = holder.removeprefix("worker-")
    other = {"a": "b", "b": "a"}[name]
    urls = dict(zip(("a", "b"), list(trials.cluster.urls), strict=True))
    trials.cluster.urls = [urls[other]]
    network.cut(name)
    moved = trials.wait_completed(job, fields)  # the same frames as undisturbed
    assert moved.status is Status.COMPLETED
    assert trials_said(trials, other, job) == 1

    network.join(name)
    trials.cluster.urls = list(urls.values())
    trials.cluster.until(trials.cluster.ready, "the host to be back")
    assert trials.get(job).attempt == moved.attempt
    assert trials_said(trials, name, job) == 0
    stopped = trials.cluster.parts[f"worker-{other}"]
    stopped.stop()
    trials.wait_completed(trials.create(fields), fields)  # by the one that was away
    stopped.start()
    trials.assert_nothing_left()
