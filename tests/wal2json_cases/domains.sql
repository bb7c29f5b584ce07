CREATE DOMAIN d_int AS int NOT NULL;
CREATE DOMAIN d_bool AS bool;
CREATE DOMAIN d_bytea AS bytea;
CREATE DOMAIN d_text AS varchar(20);
CREATE DOMAIN d_numeric AS numeric(8,3);
CREATE DOMAIN d_deep AS d_numeric;
CREATE DOMAIN d_array AS int[];
CREATE DOMAIN "D Quoted" AS double precision DEFAULT 1.5;
CREATE SCHEMA other;
CREATE DOMAIN other.d_far AS timestamptz(3);
CREATE TABLE t (id d_int PRIMARY KEY, b d_bool, y d_bytea, s d_text, n d_numeric, d d_deep, a d_array, q "D Quoted", f other.d_far);
-- record
INSERT INTO t VALUES (1, true, '\x00ff', 'text', 1.5, 2.5, '{1,2}', 'NaN', '2020-01-01 12:00:00.1234+00');
INSERT INTO t VALUES (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
UPDATE t SET s = 'x' WHERE id = 1;
UPDATE t SET id = 3 WHERE id = 2;
DELETE FROM t WHERE id = 1;
