CREATE TABLE t (id serial PRIMARY KEY, gone int, a text DEFAULT 'it''s', gone2 text, i int GENERATED ALWAYS AS IDENTITY, d timestamptz DEFAULT now(), n numeric(5,1) DEFAULT 1.5 NOT NULL, nothing text DEFAULT NULL);
ALTER TABLE t DROP gone, DROP gone2;
INSERT INTO t DEFAULT VALUES;
ALTER TABLE t ADD fast int NOT NULL DEFAULT 42, ADD later jsonb;
UPDATE t SET d = '2020-01-01';
-- record
INSERT INTO t (d) VALUES ('2020-01-01');
UPDATE t SET a = 'b';
DELETE FROM t;
