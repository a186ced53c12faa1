"""Who is served next, on SQLite and on PostgreSQL."""

import threading
from dataclasses import replace

import pytest

from app.contract.creation import Draft


def queued(store, spec, owner, count=1, *, batch_id=None, **given):
    drafts = [Draft(spec=spec, **given) for _ in range(count)]
    return [store.create(draft, owner=owner, batch_id=batch_id)[0] for draft in drafts]


def owners(store, count, model="tiny"):
    return "".join(store.claim(model, "worker-1", 60).owner for _ in range(count))


def test_a_hundred_jobs_of_one_tenant_delay_anothers_by_one(store, spec):
    queued(store, spec, "a", 100)
    (late,) = queued(store, spec, "b")
    assert 1 == store.queue_position(late)
    assert "ab" == owners(store, 2)


def test_tenants_take_turns_whatever_their_number_of_jobs(store, spec):
    for owner, count in (("a", 5), ("b", 2), ("c", 3)):
        queued(store, spec, owner, count)
    assert "abcabcacaa" == owners(store, 10)


def test_a_tenant_who_was_just_served_comes_after_one_who_was_not(store, spec):
    queued(store, spec, "a", 3)
    assert "aa" == owners(store, 2)
    queued(store, spec, "b", 2)
    assert "bab" == owners(store, 3)


def test_priority_counts_within_a_tenant_only(store, spec):
    plain = queued(store, spec, "a")[0]
    urgent = queued(store, spec, "a", priority=9)[0]
    other = queued(store, spec, "b")[0]
    order = [store.claim("tiny", "worker-1", 60).id for _ in range(3)]
    assert [urgent.id, other.id, plain.id] == order


def test_background_work_waits_for_everybodys_other_work(store, spec):
    queued(store, spec, "a", 2, priority=-1)
    queued(store, spec, "b", 2)
    queued(store, spec, "a")
    assert "bab" == owners(store, 3)
    assert "aa" == owners(store, 2)


def test_each_model_has_turns_of_its_own(store, spec):
    queued(store, spec, "a", 2)
    for owner in "ab":
        queued(store, replace(spec, model="large"), owner)
    assert "a" == owners(store, 1)
    assert "ab" == owners(store, 2, "large")


@pytest.mark.parametrize("served", range(5))
def test_the_position_in_the_queue_is_the_order_in_which_jobs_are_claimed(store, spec, served):
    jobs = []
    for owner, count, priority in (
        ("a", 3, 0),
        ("b", 1, 0),
        ("a", 1, 5),
        ("c", 2, -1),
        ("b", 2, -1),
    ):
        jobs += queued(store, spec, owner, count, priority=priority)
    for _ in range(served):
        store.claim("tiny", "worker-1", 60)
    waiting = [job for job in (store.get(made.id) for made in jobs) if job.status == "queued"]
    positions = {store.queue_position(job): job.id for job in waiting}
    order = [store.claim("tiny", "worker-1", 60).id for _ in waiting]
    assert order == [positions[place] for place in range(len(waiting))]


def test_simultaneous_claims_keep_the_turns(store, spec):
    queued(store, spec, "a", 20)
    queued(store, spec, "b", 4)
    taken = []

    def work(name):
        taken.extend(store.claim("tiny", name, 60).owner for _ in range(2))

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 4 == taken.count("b")
