"""The studio follows what is made elsewhere."""

import pytest
import sqlalchemy as sa
from playwright.sync_api import expect

from app.contract.creation import Draft
from app.contract.job import Output
from app.contract.tables import jobs

pytestmark = pytest.mark.browser


#: The studio asks for the newest 24 and for the 24 that have waited longest; some lie between.
COUNT = 60


def test_of_many_videos_made_at_once_each_is_shown_when_it_is_finished(alone, open_page, spec):
    address, parts = alone
    page = open_page(address, height=4000)
    made = queue(parts, spec)
    expect(page.locator("#waiting-more")).to_have_text(f"and {COUNT - 12} more waiting")
    while job := parts.store.claim(spec.model, "worker-1", 60):
        gone = Output(key="gone", size_bytes=1, thumbnail_key=None)
        parts.store.complete(job.id, job.attempt, gone)
    expect(page.locator("#queue .job")).to_have_count(0)
    seen = page.locator("#grid a").evaluate_all("(all) => all.map((each) => each.dataset.id)")
    assert seen == made


def queue(parts, spec):
    """Waiting jobs, a second apart; their ids, the newest first."""
    made, _ = parts.store.create_all([Draft(spec=spec) for _ in range(COUNT)])
    with parts.store.database.write() as connection:
        for age, job in enumerate(made):
            earlier = sa.update(jobs).where(jobs.c.id == job.id)
            connection.execute(earlier.values(created_at=made[0].created_at - age))
    return [job.id for job in made]
