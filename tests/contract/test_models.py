from dataclasses import replace

import sqlalchemy as sa

from app.contract.models import ALIVE_S, OFFERED_S
from app.contract.tables import workers


def aged(store, worker, seconds):
    with store.database.write() as connection:
        row = sa.update(workers).where(workers.c.name == worker)
        connection.execute(row.values(seen_at=workers.c.seen_at - seconds))


def test_a_model_is_offered_with_its_living_workers(store, capabilities):
    store.models.register("w1", capabilities)
    store.models.register("w2", capabilities)
    store.models.register("w3", replace(capabilities, model_id="other"))
    offered = store.models.list()
    assert [(m.capabilities.model_id, m.workers) for m in offered] == [("tiny", 2), ("other", 1)]
    assert capabilities == offered[0].capabilities


def test_registering_again_replaces_what_a_worker_said(store, capabilities):
    store.models.register("w1", capabilities)
    newer = replace(capabilities, max_frames=121)
    store.models.register("w1", newer)
    assert [newer] == [m.capabilities for m in store.models.list()]


def test_a_worker_that_is_started_anew_leaves_the_first_model_the_first(store, capabilities):
    store.models.register("w1", capabilities)
    store.models.register("w2", replace(capabilities, model_id="other"))
    store.models.register("w1", capabilities)
    assert [m.capabilities.model_id for m in store.models.list()] == ["tiny", "other"]


def test_a_silent_worker_is_dead_but_its_model_stays_offered_for_a_while(store, capabilities):
    store.models.register("w1", capabilities)
    aged(store, "w1", ALIVE_S + 1)
    assert [m.workers for m in store.models.list()] == [0]
    store.models.beat("w1", capabilities)
    assert [m.workers for m in store.models.list()] == [1]
    store.models.leave("w1")
    assert [m.workers for m in store.models.list()] == [0]
    aged(store, "w1", OFFERED_S)
    assert store.models.list() == []
    assert store.models.forget() == 1
    store.models.beat("w1", capabilities)  # it only slept
    assert [m.workers for m in store.models.list()] == [1]
