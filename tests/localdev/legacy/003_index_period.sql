-- How much of a tenant's logs is in one index of OpenSearch. A shard costs memory however little is in it: thousands of small tenants can't have one a day each.
-- A change counts for records that come in from then on; each record keeps the period that it came with.
ALTER TABLE plans ADD COLUMN index_period text NOT NULL DEFAULT 'day' CHECK (index_period IN ('day', 'week', 'month'));

UPDATE plans SET index_period = 'month' WHERE name = 'free';
