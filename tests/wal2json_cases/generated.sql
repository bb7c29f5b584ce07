-- differs: generated-columns: g
CREATE TABLE t (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED, z text);
-- record
INSERT INTO t (id, a, z) VALUES (1, 5, 'z'), (2, NULL, NULL);
UPDATE t SET a = 7 WHERE id = 1;
DELETE FROM t;
