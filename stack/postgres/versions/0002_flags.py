"""Feature flags: what ingest takes and what sinks do, for all tenants and for single ones."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """All or nothing: alembic's transaction is around it."""
    op.execute("""
        -- A row is what somebody set; without one the default of each function's settings counts. tenant_id: null for all. until: after it the row counts no
        -- more. Names are the functions' business (shared/contract.py, Flag); the values are checked here as well, since a hand types them in an emergency.
        CREATE TABLE telemetry.flags (
            name text NOT NULL,
            tenant_id uuid,
            value text NOT NULL,
            until timestamptz,
            set_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT flags_values CHECK (
                CASE WHEN name = 'ingest' OR name LIKE 'ingest.%' THEN value IN ('on', 'off')
                     WHEN name LIKE 'sink.%' AND tenant_id IS NULL THEN value IN ('on', 'hold', 'skip')
                     WHEN name LIKE 'sink.%' THEN value IN ('on', 'skip')
                     ELSE false END)
        )""")
    op.execute("CREATE UNIQUE INDEX flags_once ON telemetry.flags (name, coalesce(tenant_id, '00000000-0000-0000-0000-000000000000'))")
