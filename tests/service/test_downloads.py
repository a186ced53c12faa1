"""Downloads that the storage itself serves."""

from urllib.parse import urlsplit

import httpx
import pytest

from app.client import Client
from bench.harness.cluster import Cluster
from bench.harness.trials import SHORT, Trials

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def trials(tmp_path_factory, checkpoint):
    """A service that sends its clients to the S3 server for files."""
    folder = tmp_path_factory.mktemp("redirecting")
    with Cluster(folder, checkpoint, storage="s3", download_redirect_s=60.0) as cluster:
        trials = Trials(cluster)
        yield trials
        trials.client.close()


def test_a_finished_clip_is_downloaded_from_the_storage_without_the_clients_key(trials):
    job = trials.create(SHORT)
    trials.wait(job, lambda j: j.finished, "the clip")
    url = f"{trials.cluster.urls[0]}/v1/videos/{job}/content"
    headers = {"authorization": "Bearer sk-not-for-the-storage"}
    with httpx.Client(headers=headers) as client:
        first = client.get(url)
        assert first.status_code == 307
        assert urlsplit(first.headers["location"]).netloc != urlsplit(url).netloc
        assert first.headers["cache-control"] == "no-store"

        followed = client.get(url, follow_redirects=True)
        assert followed.status_code == 200
        assert "authorization" not in followed.request.headers
        assert followed.content[4:8] == b"ftyp"
        assert followed.headers["content-type"] == "video/mp4"

        part = client.get(url, headers={"range": "bytes=4-7"}, follow_redirects=True)
        assert (part.status_code, part.content) == (206, b"ftyp")

        head = client.head(url)
        assert head.status_code == 200
        assert int(head.headers["content-length"]) == len(followed.content)

        through = client.get(url, params={"redirect": "false"})
        assert (through.status_code, through.content) == (200, followed.content)

        known = client.get(url, headers={"if-none-match": head.headers["etag"]})
        assert known.status_code == 304


def test_the_commands_client_follows_to_the_storage(trials, tmp_path):
    job = trials.create(SHORT)
    trials.wait(job, lambda j: j.finished, "the clip")
    with Client.of(trials.cluster.urls[0]) as client:
        client.download(job, tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes()[4:8] == b"ftyp"
