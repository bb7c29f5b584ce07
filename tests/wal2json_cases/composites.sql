CREATE TYPE pair AS (a int, b text);
CREATE TYPE nested AS (p pair, t timestamptz);
CREATE TYPE fr AS RANGE (subtype = float8);
CREATE TABLE t (id int PRIMARY KEY, p pair, n nested, r int4range, nr numrange, tr tstzrange, mr int4multirange, f fr, fm fr_multirange[]);
-- record
INSERT INTO t VALUES (1, ROW(1, 'a "b", (c)'), ROW(ROW(NULL, ''), '2020-01-01'), '[1,5]', '(,1.10]', '[2020-01-01,infinity)', '{[1,2],[5,7)}', '[0,1.5)', ARRAY['{[1,2)}'::fr_multirange]);
INSERT INTO t VALUES (2, ROW(NULL, NULL), NULL, 'empty', '(,)', NULL, '{}', 'empty', NULL);
