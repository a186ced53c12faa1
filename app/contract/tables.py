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
    Column("key_id", String(64), nullable=False),
    Column("batch_id", String(64)),
    Column("webhook_url", Text),
    Column("seconds", Double, nullable=False),
    Column("words", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Index(None, "status", "model", "owner", "priority", "created_at"),
    Index(None, "status", "key_id", "batch_id"),
    Index(None, "owner", "created_at", "id"),
    Index(None, "key_id"),
    Index(None, "batch_id"),
    Index(None, "deleted_at"),
    Index(None, "expires_at"),
)

#: What is kept of an unfinished job, so that another worker can go on with it.
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("job_id", String(64), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("segments", Text, nullable=False),
    Column("state_attempt", Integer),
    Column("progress", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
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
    Column("tenant", String(64), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("limits", Text, nullable=False),
)

#: When the queue of a model served each owner last: a number that grows with each claim.
turns = Table(
    "turns",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("owner", String(64), primary_key=True),
    Column("turn", BigInteger, nullable=False),
)

#: Seconds of video that a key asked for in each hour (Unix time / 3600).
usage = Table(
    "usage",
    metadata,
    Column("key_id", String(64), primary_key=True),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("seconds", Double, nullable=False),
)

#: How long a stage takes for clips of one size and about one length, as workers measured it.
timings = Table(
    "timings",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("width", Integer, primary_key=True, autoincrement=False),
    Column("height", Integer, primary_key=True, autoincrement=False),
    Column("frames", Integer, primary_key=True, autoincrement=False),
    Column("stage", String(16), primary_key=True),
    Column("seconds", Double, nullable=False),
    Column("samples", Integer, nullable=False),
)

files = Table(
    "files",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("filename", String(256), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("deleted_at", Double),
    Index(None, "owner", "created_at", "id"),
    Index(None, "key_id"),
    Index(None, "expires_at"),
    Index(None, "deleted_at"),
)

#: `errors` and `labels` are JSON; the lease is of the API process that works on the batch.
batches = Table(
    "batches",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("endpoint", String(64), nullable=False),
    Column("input_file_id", String(64), nullable=False),
    Column("output_file_id", String(64)),
    Column("error_file_id", String(64)),
    Column("output_expire_s", Double),
    Column("status", String(16), nullable=False),
    Column("labels", Text, nullable=False),
    Column("errors", Text, nullable=False),
    Column("total", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("in_progress_at", Double),
    Column("cancelling_at", Double),
    Column("finalizing_at", Double),
    Column("finished_at", Double),
    Column("lease_until", Double),
    Column("idempotency_key", String(256)),
    Index(None, "owner", "created_at", "id"),
    Index(None, "owner", "idempotency_key", unique=True),
    Index(None, "status"),
)

#: A request of a batch: the job it became, or the error body that refused it.
batch_lines = Table(
    "batch_lines",
    metadata,
    Column("batch_id", String(64), ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("line", Integer, primary_key=True, autoincrement=False),
    Column("custom_id", String(512), nullable=False),
    Column("job_id", String(64)),
    Column("status_code", Integer),
    Column("error", Text),
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("name", String(256), nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", Text, nullable=False),
    Column("secret", String(128), nullable=False),
    Column("old_secret", String(128)),
    Column("old_secret_until", Double),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Index(None, "owner", "created_at", "id"),
)

#: What signs the deliveries to an owner's `webhook_url`s.
webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("secret", String(128), nullable=False),
)

#: The outbox: what happened, written with the change itself, and to whom it is still to be told.
events = Table(
    "events",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("type", String(32), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Index(None, "created_at"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("event_id", String(64), ForeignKey("events.id", ondelete="CASCADE"), nullable=False),
    Column("endpoint_id", String(64), ForeignKey("webhook_endpoints.id", ondelete="CASCADE")),
    Column("owner", String(64), nullable=False),
    Column("url", Text),
    Column("receiver", String(256), nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Double, nullable=False),
    Column("lease_until", Double),
    Column("created_at", Double, nullable=False),
    Index(None, "status", "next_at"),
    Index(None, "owner", "created_at", "id"),
    Index(None, "event_id"),
    Index(None, "endpoint_id"),
)

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column(
        "delivery_id", String(64), ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("status_code", Integer),
    Column("error", String(256)),
)
