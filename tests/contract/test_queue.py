import socket

import pytest
import redis

from app.contract.queue import CONNECT_TIMEOUT_S, Queue, celery_app


@pytest.fixture
def queue(redis_url):
    queue = Queue(redis_url)
    yield queue
    queue.close()


def test_a_message_waits_in_the_queue_of_its_model(queue, store, spec):
    job = store.create(spec)[0]
    before = queue.depth("tiny")
    assert queue.wake("tiny", [job.id])
    assert queue.wake("tiny", ["", ""])
    assert (before + 3, 0) == (queue.depth("tiny"), queue.depth("other"))


def test_an_unreachable_redis_is_no_error_for_the_job(tmp_path, store, spec):
    queue = Queue(f"unix://{tmp_path / 'nothing.sock'}")
    assert queue.wake("tiny", [store.create(spec)[0].id]) is False
    with pytest.raises(redis.RedisError):
        queue.check()
    queue.close()


def test_who_asks_for_several_videos_waits_once_for_a_redis_that_says_nothing():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        queue = Queue(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        assert queue.wake("tiny", ["a", "b", "c"]) is False
        queue.close()
    for app, silence_s in ((queue._celery, CONNECT_TIMEOUT_S), (celery_app("redis://h"), 30)):
        assert app.conf.broker_transport_options["socket_timeout"] == silence_s


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
