import pytest
import redis

from app.contract.queue import Queue, celery_app


@pytest.fixture
def queue(redis_url):
    queue = Queue(redis_url)
    yield queue
    queue.close()


def test_a_message_waits_in_the_queue_of_its_model(queue, store, spec):
    job = store.create(spec)[0]
    before = queue.depth("tiny")
    assert queue.announce(job)
    assert queue.wake("tiny", ["", ""])
    assert (before + 3, 0) == (queue.depth("tiny"), queue.depth("other"))


def test_an_unreachable_redis_is_no_error_for_the_job(tmp_path, store, spec):
    queue = Queue(f"unix://{tmp_path / 'nothing.sock'}")
    assert queue.announce(store.create(spec)[0]) is False
    with pytest.raises(redis.RedisError):
        queue.check()
    queue.close()


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("redis://h", False),
        ("rediss://h", {"ssl_cert_reqs": "required"}),
        ("rediss://h?ssl_ca_certs=/ca.pem", {"ssl_ca_certs": "/ca.pem"}),
    ],
)
def test_a_certificate_is_checked_unless_the_address_says_otherwise(url, tls):
    assert tls == celery_app(url).connection_for_write().ssl
