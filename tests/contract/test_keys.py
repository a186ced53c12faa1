import pytest

from app.contract.keys import KeyNotFound


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
