-- A ledger as version 0.1.0 left it when it was killed: rows, holds without an end in a list, a refused request, and entries in its journal
-- (ledger-0.1.0.ahead-0) that the tables do not have. Read by LedgerMigrationTests.
PRAGMA application_id = 1416390516;
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY,
  request_high INTEGER NOT NULL,
  request_low INTEGER NOT NULL,
  attempt INTEGER NOT NULL CHECK (attempt >= 1),
  state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),
  series INTEGER NOT NULL REFERENCES series (id),
  held_at INTEGER NOT NULL,
  reserved_input INTEGER NOT NULL,
  reserved_output INTEGER NOT NULL,
  held INTEGER,
  prices INTEGER NOT NULL REFERENCES words (id),
  ended_at INTEGER,
  verdict INTEGER REFERENCES words (id),
  cost_source INTEGER REFERENCES words (id),
  cost INTEGER,
  input_tokens INTEGER NOT NULL DEFAULT 0,
  output_tokens INTEGER NOT NULL DEFAULT 0,
  cache_read_tokens INTEGER NOT NULL DEFAULT 0,
  status INTEGER,
  reasoning_tokens INTEGER NOT NULL DEFAULT 0,
  cache_write_tokens INTEGER NOT NULL DEFAULT 0,
  cache_write_hour_tokens INTEGER NOT NULL DEFAULT 0,
  audio_ms INTEGER NOT NULL DEFAULT 0,
  estimated INTEGER NOT NULL DEFAULT 0 CHECK (estimated BETWEEN 0 AND 1),
  service_tier INTEGER REFERENCES words (id),
  CHECK ((reserved_input | reserved_output | input_tokens | output_tokens | cache_read_tokens | reasoning_tokens
    | cache_write_tokens | cache_write_hour_tokens | audio_ms | coalesce(held, 0) | coalesce(cost, 0)) >= 0),
  CHECK ((state = 0) = (ended_at IS NULL))
) STRICT;
INSERT INTO "attempts" VALUES(1882193920000000000,117637120000000003,-1028001813962170200,1,2,2,1795000000000300000,2000,400,8000000,1,1795000000000300000,2,3,0,0,0,0,NULL,0,0,0,0,0,NULL);
INSERT INTO "attempts" VALUES(1882193920052428800,117637120000000000,1663341875487337577,1,1,1,1795000000000000000,2000,400,8000000,1,1795000000050000000,4,5,5000000,1900,300,1000,200,0,0,0,0,0,NULL);
INSERT INTO "attempts" VALUES(1882193920052428802,117637120000000001,-5382687378899015554,1,1,2,1795000000000100000,2000,400,8000000,1,1795000000050100000,4,5,5000001,1900,300,1000,200,0,0,0,0,0,NULL);
INSERT INTO "attempts" VALUES(1882193920052428804,117637120000000002,6018027440424182931,1,1,1,1795000000000200000,2000,400,8000000,1,1795000000050200000,4,5,5000002,1900,300,1000,200,0,0,0,0,0,NULL);
INSERT INTO "attempts" VALUES(1882193920052428806,117637120000000003,-1028001813962170200,2,1,2,1795000000000300000,2000,400,8000000,1,1795000000050300000,4,5,5000003,1900,300,1000,200,0,0,0,0,0,NULL);
INSERT INTO "attempts" VALUES(1882193920052428808,117637120000000004,-8074031068348523331,1,1,1,1795000000000400000,2000,400,8000000,1,1795000000050400000,4,5,5000004,1900,300,1000,200,0,0,0,0,0,NULL);
INSERT INTO "attempts" VALUES(1882193920052428810,117637120000000005,3326683750974675154,1,1,2,1795000000000500000,2000,400,8000000,1,1795000000050500000,4,5,5000005,1900,300,1000,200,0,0,0,0,0,NULL);
INSERT INTO "attempts" VALUES(1882193920052428812,117637120000065546,4990025626462012731,1,2,1,1795000000001000000,2000,400,8000000,1,1795000000001000000,2,3,0,0,0,0,NULL,0,0,0,0,0,NULL);
INSERT INTO "attempts" VALUES(1882193920052428813,117637120000000006,-3719345503411677977,1,1,1,1795000000000600000,2000,400,8000000,1,1795000000050600000,4,5,5000006,1900,300,1000,200,0,0,0,0,0,NULL);
CREATE TABLE changes (
  id INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  subject TEXT NOT NULL CHECK (subject IN ('key', 'breaker', 'budget', 'policy', 'broker')),
  name TEXT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT NOT NULL,
  asked_by TEXT,
  amount INTEGER,
  until INTEGER
) STRICT;
INSERT INTO "changes" VALUES(1,1795000000000000000,'broker','broker','started','',NULL,NULL,NULL);
CREATE TABLE grdb_migrations (identifier TEXT NOT NULL PRIMARY KEY);
INSERT INTO "grdb_migrations" VALUES('keep attempts, requests and changes');
CREATE TABLE marks (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "marks" VALUES('applied',29);
INSERT INTO "marks" VALUES('ledger',-7013663812215465125);
INSERT INTO "marks" VALUES('unfinished_since',1882193920052428812);
CREATE TABLE new_holds (
  id INTEGER PRIMARY KEY,
  holds BLOB NOT NULL CHECK (length(holds) % 72 = 0 AND length(holds) > 0)
) STRICT;
INSERT INTO "new_holds" VALUES(1,X'0700005E56EEA101FCD07DF7B1B4996A01000000000000000200000000000000602EDE5BFD1EE918D007000000000000900100000000000000127A000000000001000000000000000800005E56EEA101114DC8766B2ED1080100000000000000010000000000000000B5DF5BFD1EE918D007000000000000900100000000000000127A000000000001000000000000000900005E56EEA10126C912F624A808A701000000000000000200000000000000A03BE15BFD1EE918D007000000000000900100000000000000127A000000000001000000000000000A00015E56EEA1013B455D75DE2140450200000000000000010000000000000040C2E25BFD1EE918D007000000000000900100000000000000127A00000000000100000000000000');
CREATE TABLE pruned_spending (
      tenant TEXT NOT NULL,
      client_key TEXT NOT NULL,
      attempts INTEGER NOT NULL CHECK (attempts >= 0),
      cost INTEGER NOT NULL CHECK (cost >= 0),
      PRIMARY KEY (tenant, client_key)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "pruned_spending" VALUES('acme','',3,70);
CREATE TABLE requests (
  id INTEGER PRIMARY KEY,
  request_high INTEGER NOT NULL,
  request_low INTEGER NOT NULL,
  series INTEGER NOT NULL REFERENCES series (id),
  arrived_at INTEGER NOT NULL,
  ended_at INTEGER NOT NULL,
  outcome INTEGER NOT NULL REFERENCES words (id),
  priority_reason INTEGER NOT NULL REFERENCES words (id),
  status INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  queued_us INTEGER NOT NULL,
  first_byte_us INTEGER,
  CHECK ((status | attempts | queued_us | coalesce(first_byte_us, 0)) >= 0)
) STRICT;
INSERT INTO "requests" VALUES(1882193920052428801,117637120000000000,1663341875487337577,1,1795000000000000000,1795000000050000000,7,6,200,1,1000,40000);
INSERT INTO "requests" VALUES(1882193920052428803,117637120000000001,-5382687378899015554,2,1795000000000100000,1795000000050100000,7,6,200,1,1000,40000);
INSERT INTO "requests" VALUES(1882193920052428805,117637120000000002,6018027440424182931,1,1795000000000200000,1795000000050200000,7,6,200,1,1000,40000);
INSERT INTO "requests" VALUES(1882193920052428807,117637120000000003,-1028001813962170200,2,1795000000000300000,1795000000050300000,7,6,200,2,1000,40000);
INSERT INTO "requests" VALUES(1882193920052428809,117637120000000004,-8074031068348523331,1,1795000000000400000,1795000000050400000,7,6,200,1,1000,40000);
INSERT INTO "requests" VALUES(1882193920052428811,117637120000000005,3326683750974675154,2,1795000000000500000,1795000000050500000,7,6,200,1,1000,40000);
INSERT INTO "requests" VALUES(1882193920052428814,117637120000000006,-3719345503411677977,1,1795000000000600000,1795000000050600000,7,6,200,1,1000,40000);
INSERT INTO "requests" VALUES(1882193920052428815,117637120000327680,77,3,1795000000005000000,1795000000006000000,8,6,429,0,1000,NULL);
CREATE TABLE series (
  id INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL,
  client_key TEXT NOT NULL,
  session TEXT NOT NULL,
  provider TEXT NOT NULL,
  key TEXT NOT NULL,
  model TEXT NOT NULL,
  priority TEXT NOT NULL CHECK (priority IN ('high', 'normal', 'low')),
  kind TEXT NOT NULL,
  UNIQUE (session, model, provider, key, tenant, client_key, priority, kind)
) STRICT;
INSERT INTO "series" VALUES(1,'acme','','session-0','openai','main','gpt-6-sol-2026-10','normal','follow-up');
INSERT INTO "series" VALUES(2,'acme','','session-1','openai','main','gpt-6-sol-2026-10','normal','follow-up');
INSERT INTO "series" VALUES(3,'acme','','session-0','','','gpt-6-sol-2026-10','low','');
CREATE TABLE words (
  id INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO "words" VALUES(1,'2026-11-20');
INSERT INTO "words" VALUES(2,'failed');
INSERT INTO "words" VALUES(3,'free');
INSERT INTO "words" VALUES(4,'success');
INSERT INTO "words" VALUES(5,'prices');
INSERT INTO "words" VALUES(6,'x-tollgate-priority');
INSERT INTO "words" VALUES(7,'completed');
INSERT INTO "words" VALUES(8,'rejected_budget');
CREATE INDEX open_attempts ON attempts (id) WHERE state = 0;
CREATE VIEW attempt_log AS
SELECT substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_high >> 61) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_high >> 56) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_high >> 51) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_high >> 46) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_high >> 41) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_high >> 36) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_high >> 31) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_high >> 26) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_high >> 21) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_high >> 16) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_high >> 11) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_high >> 6) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_high >> 1) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', (((a.request_low >> 60) & 15) | ((a.request_high << 4) & 31)) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_low >> 55) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_low >> 50) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_low >> 45) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_low >> 40) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_low >> 35) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_low >> 30) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_low >> 25) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_low >> 20) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_low >> 15) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_low >> 10) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_low >> 5) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((a.request_low >> 0) & 31) + 1, 1) AS request_id, a.id, a.attempt,
  CASE a.state WHEN 0 THEN 'held' WHEN 1 THEN 'posted' WHEN 2 THEN 'void' ELSE 'presumed' END AS state,
  strftime('%Y-%m-%dT%H:%M:%fZ', a.held_at / 1e9, 'unixepoch') AS held_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', a.ended_at / 1e9, 'unixepoch') AS ended_at,
  s.tenant, nullif(s.client_key, '') AS client_key, s.session, s.provider, nullif(s.key, '') AS key, s.model,
  s.priority, nullif(s.kind, '') AS kind, a.reserved_input, a.reserved_output,
  v.text AS verdict, a.status, a.input_tokens, a.cache_read_tokens, a.cache_write_tokens,
  a.cache_write_hour_tokens, a.output_tokens, a.reasoning_tokens, a.audio_ms, a.estimated,
  a.held AS held_nanousd, a.cost AS cost_nanousd, c.text AS cost_source, p.text AS price_version,
  t.text AS service_tier, a.request_high, a.request_low
FROM attempts a JOIN series s ON s.id = a.series JOIN words p ON p.id = a.prices
LEFT JOIN words v ON v.id = a.verdict LEFT JOIN words c ON c.id = a.cost_source
LEFT JOIN words t ON t.id = a.service_tier;
CREATE VIEW request_log AS
SELECT substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_high >> 61) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_high >> 56) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_high >> 51) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_high >> 46) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_high >> 41) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_high >> 36) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_high >> 31) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_high >> 26) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_high >> 21) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_high >> 16) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_high >> 11) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_high >> 6) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_high >> 1) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', (((r.request_low >> 60) & 15) | ((r.request_high << 4) & 31)) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_low >> 55) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_low >> 50) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_low >> 45) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_low >> 40) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_low >> 35) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_low >> 30) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_low >> 25) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_low >> 20) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_low >> 15) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_low >> 10) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_low >> 5) & 31) + 1, 1) || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((r.request_low >> 0) & 31) + 1, 1) AS request_id, r.id,
  strftime('%Y-%m-%dT%H:%M:%fZ', r.arrived_at / 1e9, 'unixepoch') AS arrived_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', r.ended_at / 1e9, 'unixepoch') AS ended_at,
  s.tenant, nullif(s.client_key, '') AS client_key, s.session, s.priority, w.text AS priority_reason,
  nullif(s.kind, '') AS kind, s.model, nullif(s.provider, '') AS provider, nullif(s.key, '') AS key,
  o.text AS outcome, r.status, r.attempts, r.queued_us / 1000.0 AS queued_ms,
  r.first_byte_us / 1000.0 AS first_byte_ms, r.request_high, r.request_low
FROM requests r JOIN series s ON s.id = r.series JOIN words o ON o.id = r.outcome
JOIN words w ON w.id = r.priority_reason;
