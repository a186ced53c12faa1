"""Idempotency keys of batches."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("idempotency_key", sa.String(256)))
    op.create_index(
        "ix_batches_owner_idempotency_key", "batches", ["owner", "idempotency_key"], unique=True
    )
