-- differs: stale-schema-name: later: sooner
CREATE SCHEMA sooner;
CREATE TABLE sooner.t (id int PRIMARY KEY);
-- record
INSERT INTO sooner.t VALUES (1);
ALTER SCHEMA sooner RENAME TO later;
INSERT INTO later.t VALUES (2);
