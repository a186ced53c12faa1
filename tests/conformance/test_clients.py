"""OpenAI's own clients, unmodified but for their address, against the whole service."""

import pytest

pytestmark = pytest.mark.service


def test_every_method_of_every_client_is_served(client, outcomes, record_property):
    tried = outcomes[client]
    record_property(str(client), tried)  # for the table
    missing = {name for name, outcome in tried.items() if outcome == "absent"}
    faults = {name: why for name, why in tried.items() if why not in ("yes", "absent")}
    assert {} == faults
    assert client.lacks == missing | (client.lacks - set(tried))
