CREATE TABLE t (id int PRIMARY KEY, s text);
-- record
INSERT INTO t SELECT i, 'a' || chr(i) || 'z' FROM generate_series(1, 160) AS i;
INSERT INTO t VALUES (200, U&'\2028\2029\FEFF'), (201, '😀'), (202, E'\\ / " \b\f\n\r\t'), (203, ''), (204, 'NULL'), (205, '100% %b %s %%');
