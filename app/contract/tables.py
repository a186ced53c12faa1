"""The database's tables. `app/migrations` makes them; a test compares the two."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("model", String(128), nullable=False),
    Column("model_name", String(128), nullable=False),
    Column("spec", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("progress", Double, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("extra", Text, nullable=False),
    Column("body_hash", String(64)),
    Column("remixed_from", String(64)),
    Column("attempt", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("worker", String(128)),
    Column("lease_until", Double),
    Column("cancel_requested", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("expires_at", Double),
    Column("deleted_at", Double),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("output_key", String(256)),
    Column("output_bytes", BigInteger),
    Column("thumbnail_key", String(256)),
    Index(None, "status", "model", "priority", "created_at"),
    Index(None, "owner", "created_at", "id"),
    Index(None, "deleted_at"),
    Index(None, "expires_at"),
)

#: What a client promised to send only once: (owner, key) -> job.
idempotency = Table(
    "idempotency",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("key", String(256), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("job_id", String(64), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Double, nullable=False),
)

#: One row for each worker process; `seen_at` is its heartbeat.
workers = Table(
    "workers",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("model", String(128), nullable=False),
    Column("capabilities", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Index(None, "model", "seen_at"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("hint", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
)
