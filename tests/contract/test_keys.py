import pytest

from app.contract.keys import KeyLimits, KeyNotFound


def test_a_key_is_known_by_its_secret_until_it_is_revoked(store):
    assert not store.keys.any_valid()
    key, secret = store.keys.create("laptop")
    assert key == store.keys.verify(secret)
    assert store.keys.verify(secret + "x") is None
    assert store.keys.any_valid()
    assert store.keys.revoke(key.id).revoked_at is not None
    assert store.keys.verify(secret) is None
    assert not store.keys.any_valid()


def test_a_secret_is_stored_nowhere(store):
    _, secret = store.keys.create("laptop")
    with store.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM keys").all()
    assert secret not in str(rows)


def test_keys_are_listed_in_order_and_revoked_once(store):
    made = [store.keys.create(name)[0] for name in ("a", "b")]
    assert made == store.keys.list()
    store.keys.revoke(made[0].id)
    for missing in (made[0].id, "key_none"):
        with pytest.raises(KeyNotFound, match=missing):
            store.keys.revoke(missing)


def test_a_key_is_its_own_tenant_unless_it_is_given_one(store):
    alone, shared = store.keys.create("a")[0], store.keys.create("b", tenant="team")[0]
    assert (alone.id, "team") == (alone.tenant, shared.tenant)
    assert [alone, shared] == store.keys.list()


def test_a_key_is_for_its_scopes_and_what_they_include(store):
    every = store.keys.create("a")[0]
    some = store.keys.create("b", scopes=("videos:read", "files"))[0]
    assert every.allows("videos", reading=False)
    assert some.allows("videos", reading=True) and not some.allows("videos", reading=False)
    assert some.allows("files", reading=True) and some.allows("files", reading=False)
    assert not some.allows("batches", reading=True)


@pytest.mark.parametrize("scope", ["video", "videos:write", "videos:", "", "*"])
def test_a_scope_that_does_not_exist_is_refused(store, scope):
    with pytest.raises(ValueError, match="is no scope"):
        store.keys.create("a", scopes=(scope,))


@pytest.mark.parametrize("given", [{"name": ""}, {"name": "a", "tenant": "x" * 65}])
def test_names_have_a_length(store, given):
    with pytest.raises(ValueError, match="between 1 and 64"):
        store.keys.create(**given)


def test_a_keys_limits_are_kept(store):
    limits = KeyLimits(rpm=60, jobs=2, queued=10, seconds_day=600.5, storage_bytes=2**40)
    made, secret = store.keys.create("a", limits=limits)
    assert limits == store.keys.verify(secret).limits == store.keys.get(made.id).limits
