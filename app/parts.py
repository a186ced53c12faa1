"""What the handlers work with, opened once when the API starts and closed when it stops."""

from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import Depends, Request

from app.clips import Clips
from app.contract.blobs import Blobs
from app.contract.previews import Previews
from app.contract.queue import Queue
from app.contract.rate import Rate
from app.contract.settings import Settings
from app.contract.store import Store
from app.fetching import Fetcher
from app.following import Following
from app.hooks import Hooks
from app.intake import Intake


@dataclass(frozen=True, slots=True)
class Parts:
    """The service behind the HTTP surface."""

    settings: Settings
    store: Store
    blobs: Blobs
    queue: Queue
    intake: Intake
    clips: Clips
    previews: Previews
    following: Following
    rate: Rate
    hooks: Hooks

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Connects to the database, the object storage and Redis that the settings name."""
        fetcher = Fetcher(
            limit_bytes=settings.max_body_bytes,
            timeout_s=settings.fetch_timeout_s,
            allow_private=settings.fetch_private,
        )
        store, previews = Store.open(settings.database_url), Previews(settings.redis_url)
        return cls(
            settings=settings,
            store=store,
            blobs=Blobs.open(settings),
            queue=Queue(settings.redis_url),
            intake=Intake(settings.max_body_bytes, settings.max_image_pixels, fetcher),
            clips=Clips(settings.max_video_frames),
            previews=previews,
            following=Following(store, previews),
            rate=Rate(settings.redis_url),
            hooks=Hooks.of(settings),
        )

    def close(self) -> None:
        """Closes the connections."""
        self.rate.close()
        self.queue.close()
        self.previews.close()
        self.store.close()


def parts_of(request: Request) -> Parts:
    """The parts of the application that this request reached."""
    return request.app.state.parts


PartsOf = Annotated[Parts, Depends(parts_of)]
