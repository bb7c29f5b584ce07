CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE s (id int, v text);
INSERT INTO s VALUES (1, 'merged'), (7, 'new');
-- record
BEGIN;
INSERT INTO t VALUES (1, 'a');
DELETE FROM t WHERE id = 1;
INSERT INTO t VALUES (1, 'again');
COMMIT;
INSERT INTO t VALUES (1, 'x'), (2, 'y') ON CONFLICT (id) DO UPDATE SET v = excluded.v || '!';
INSERT INTO t VALUES (1, 'x') ON CONFLICT DO NOTHING;
MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v);
COPY t FROM PROGRAM 'printf "10\tten\n11\t\\\\N\n12\ttwelve\n"';
MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN DELETE;
SELECT * FROM t FOR UPDATE;
