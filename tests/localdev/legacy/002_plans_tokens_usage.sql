-- What a tenant may send, from its plan. A bucket holds burst_seconds' worth of each rate.
CREATE TABLE plans (
    name text PRIMARY KEY,
    requests_per_second double precision NOT NULL CHECK (requests_per_second > 0),
    bytes_per_second double precision NOT NULL CHECK (bytes_per_second > 0),
    burst_seconds double precision NOT NULL DEFAULT 10 CHECK (burst_seconds > 0),
    max_body_bytes integer NOT NULL DEFAULT 67108864 CHECK (max_body_bytes BETWEEN 1 AND 67108864)
);

INSERT INTO plans (name, requests_per_second, bytes_per_second, max_body_bytes) VALUES
    ('free', 20, 2000000, 16777216),
    ('standard', 500, 50000000, 67108864),
    ('large', 100000, 10000000000, 67108864);

ALTER TABLE tenants ADD COLUMN plan text NOT NULL DEFAULT 'standard' REFERENCES plans;

-- lifetime: what a rotation gives the new token. replaces: the token that it was made for by rotation. hint: the first characters, to tell tokens apart in a list.
ALTER TABLE tokens
    ADD COLUMN lifetime interval,
    ADD COLUMN replaces uuid REFERENCES tokens ON DELETE SET NULL,
    ADD COLUMN hint text NOT NULL DEFAULT '',
    ADD COLUMN last_used_at timestamptz,
    ADD CONSTRAINT tokens_scopes CHECK (cardinality(scopes) > 0 AND scopes <@ '{logs,metrics,traces,read}');

CREATE INDEX tokens_by_tenant ON tokens (tenant_id, created_at);

-- Rows for billing: what was taken over within an hour. Without foreign keys: a bill outlives the tenant's row, and one deleted tenant must not refuse
-- the flush of all others.
CREATE TABLE usage (
    tenant_id uuid NOT NULL,
    token_id uuid NOT NULL,
    signal text NOT NULL,
    hour timestamptz NOT NULL,
    requests bigint NOT NULL,
    records bigint NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (tenant_id, hour, token_id, signal)
);

-- One row a process: the number of its last flush, so that a flush whose answer got lost is never added twice.
CREATE TABLE usage_writers (
    id uuid PRIMARY KEY,
    flush bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
