"""The HTTP application, `create_app(settings)`, and the process that serves it.

`python -m app.main` is what `kinora api` and the embedded service run.
"""

import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

import uvicorn
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from sqlalchemy.exc import OperationalError

from app import clips
from app.api import (
    batches,
    deliveries,
    derived,
    downloads,
    events,
    files,
    images,
    models,
    ops,
    page,
    stream,
    videos,
    webhooks,
)
from app.api.document import describe
from app.auth import ExposedError, check_exposure
from app.batching import Batching
from app.contract import logs
from app.contract.database import DatabaseError
from app.contract.settings import Settings, SettingsError
from app.contract.store import Store
from app.edge import BodyLimit, RequestId
from app.errors import add_error_handlers
from app.migrations.upgrade import upgrade
from app.parts import Parts

DESCRIPTION = """
Kinora makes videos from text and images. It speaks OpenAI's Videos API, so code written for that
works after one change, `base_url`.
"""


def create_app(settings: Settings, stopping: Callable[[], bool] = lambda: False) -> FastAPI:
    """The application over the database, Redis and storage that `settings` name. What would go on
    for ever ends when `stopping` says that the server is to stop.

    The tables must exist: `app.migrations.upgrade` makes them, and the commands call it.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        app.state.parts = Parts.open(settings)
        clips.remove_left()
        app.state.parts.following.start(stopping)
        batching = Batching(app.state.parts)
        batching.start()
        try:
            yield
        finally:
            batching.stop()
            await app.state.parts.following.stop()
            app.state.parts.close()

    # Its page of the API needs no other server, whose scripts would see the studio's key. ReDoc's
    # would show a logo from one.
    app = FastAPIOffline(
        title="Kinora",
        description=DESCRIPTION,
        version="0.1.0",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.openapi = partial(describe, app)
    add_error_handlers(app)
    surface = (
        derived,
        videos,
        downloads,
        events,
        stream,
        images,
        files,
        batches,
        webhooks,
        deliveries,
        models,
        ops,
        page,
    )
    app.state.routers = [part.router for part in surface]
    for router in app.state.routers:
        app.include_router(router)
    app.add_middleware(
        BodyLimit, limit_bytes=settings.max_body_bytes, upload_bytes=settings.max_file_bytes
    )
    app.add_middleware(RequestId)
    return app


class PortTakenError(RuntimeError):
    """Another program listens where the API should."""


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that a taken port is one clear sentence and not a traceback."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named asyncio turns Nagle's algorithm off for what is accepted; else every
    # answer's second write waits for the client's delayed acknowledgement, 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise PortTakenError(
            f"cannot listen on {host} port {port}: {error.strerror}. Choose another with --port."
        ) from None
    return bound


def run(settings: Settings) -> None:
    """Migrate the database and serve until SIGTERM or SIGINT. Raises before listening anywhere."""
    upgrade(settings.database_url)
    store = Store.open(settings.database_url)
    try:
        check_exposure(settings.host, store.keys)
    finally:
        store.close()
    bound = listen(settings.host, settings.port)
    config = uvicorn.Config(
        create_app(settings, lambda: server.should_exit),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=30,
        ws="none",
    )
    server = uvicorn.Server(config)
    server.run(sockets=[bound])


def main() -> int:
    """Serve the API with the settings of the environment; 2 when it cannot start."""
    try:
        settings = Settings.from_env()
        logs.setup(settings.log_level, settings.log_format, process="api")
        run(settings)
    except (SettingsError, DatabaseError, ExposedError, PortTakenError) as error:
        sys.stderr.write(f"kinora api: {error}\n")
        return 2
    except OperationalError as error:
        sys.stderr.write(f"kinora api: the database does not answer: {error.orig}\n")
        return 1  # which may pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
