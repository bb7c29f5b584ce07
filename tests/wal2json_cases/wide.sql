DO $$ BEGIN EXECUTE 'CREATE TABLE t (' || (SELECT string_agg('c' || i || ' int', ', ') FROM generate_series(1, 1599) AS i) || ', PRIMARY KEY (c7))'; END $$;
-- record
INSERT INTO t (c7, c1, c1599) VALUES (1, 2, 3);
UPDATE t SET c800 = 5;
DELETE FROM t;
