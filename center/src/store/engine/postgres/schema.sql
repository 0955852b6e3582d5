-- Step 1. Keys are the bytes that RocksDB would have: parts joined by NUL.
CREATE TABLE modtier_records (
  family text NOT NULL,
  key bytea NOT NULL,
  value bytea NOT NULL,
  PRIMARY KEY (family, key)
);
-- The head row of a log is locked while its records are numbered: numbers have no holes, and what is committed is a prefix.
CREATE TABLE modtier_logs (
  repository text PRIMARY KEY,
  epoch bigint NOT NULL,
  seq bigint NOT NULL,
  oldest bigint NOT NULL
);
CREATE TABLE modtier_changes (
  repository text NOT NULL,
  seq bigint NOT NULL,
  record bytea NOT NULL,
  PRIMARY KEY (repository, seq)
);
-- Who fetches what just now. A token is never given twice: it is what a late holder is fenced off by.
CREATE SEQUENCE modtier_lease_tokens;
CREATE TABLE modtier_leases (
  key text PRIMARY KEY,
  token bigint NOT NULL,
  expires timestamptz NOT NULL
);
