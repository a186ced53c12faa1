"""Real databases for the store: SQLite files and a PostgreSQL cluster of the tests' own."""

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from obstore.exceptions import BaseError

from app.contract.blobs import Blobs
from app.contract.settings import Settings
from app.contract.store import Store
from app.contract.tables import metadata
from app.migrations.upgrade import upgrade

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    """The URL of an empty database on a PostgreSQL server that listens to a socket file only."""
    programs = SERVERS[-1] if SERVERS else Path(shutil.which("postgres") or "/postgresql").parent
    if not (programs / "initdb").exists():
        pytest.fail("PostgreSQL is missing: apt-get install postgresql")
    folder = tmp_path_factory.mktemp("postgresql")
    data, log = folder / "data", folder / "log"
    user: dict = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody", "nogroup")
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
                parent.chmod(parent.stat().st_mode | 0o011)
    initdb = [programs / "initdb", "-D", data, "-U", "kinora", "--auth=trust", "-N"]
    subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **user)
    with log.open("wb") as output:
        options = ["-c", "fsync=off", "-c", "listen_addresses=", "-k", folder]
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *options],
            stdout=output,
            stderr=output,
            cwd=folder,
            **user,
        )
    try:
        url = f"postgresql://kinora@/postgres?host={folder}"
        wait_for(url, server, log)
        upgrade(url)
        yield url
    finally:
        server.terminate()
        server.wait()


def wait_for(url, server, log):
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    deadline = time.monotonic() + 30
    while True:
        try:
            engine.connect().close()
            break
        except sa.exc.OperationalError:
            assert time.monotonic() < deadline and server.poll() is None, log.read_text()
            time.sleep(0.05)
    engine.dispose()


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """Settings' fields of a bucket on an S3 server of the tests' own (SeaweedFS)."""
    folder = tmp_path_factory.mktemp("s3")
    keys = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests-secret"}
    port = free_ports()
    command = [Path(sys.executable).with_name("weed"), "mini", f"-dir={folder}"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-bucket=clips", f"-s3.port={port}"]
    command += [
        f"-{name}.port={port + n}" for n, name in enumerate(("master", "volume", "filer"), 1)
    ]
    command += ["-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-webdav=false", "-admin.ui=false"]
    with (folder / "log").open("wb") as log:
        environment = os.environ | keys | {"GOMEMLIMIT": "400MiB"}
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    where = {
        "storage_url": "s3://clips/some/prefix",
        "s3_endpoint": f"http://127.0.0.1:{port}",
        "s3_access_key_id": keys["AWS_ACCESS_KEY_ID"],
        "s3_secret_access_key": keys["AWS_SECRET_ACCESS_KEY"],
    }
    try:
        wait_for_bucket(Blobs.open(Settings(data=folder, **where)), server)
        yield where
    finally:
        server.kill()
        server.wait()


def wait_for_bucket(blobs, server):
    deadline = time.monotonic() + 60
    while True:
        try:
            return blobs.check()
        except (BaseError, OSError, LookupError):
            assert time.monotonic() < deadline and server.poll() is None
            time.sleep(0.1)


def free_ports():
    """The first of four free ports; those 10000 above are free too, as the server takes both."""
    while True:
        first = random.randrange(12000, 22000)
        try:
            for port in (*range(first, first + 4), *range(first + 10000, first + 10004)):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path, migrated):
    """The store on both databases that it is shipped for."""
    if request.param == "sqlite":
        (tmp_path / "kinora.db").write_bytes(migrated)
        store = Store.open(f"sqlite:///{tmp_path / 'kinora.db'}")
        yield store
        store.close()
        return
    store = Store.open(request.getfixturevalue("postgresql"))
    yield store
    with store.database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(sa.delete(table))
    store.close()
