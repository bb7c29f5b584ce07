CREATE TABLE t (id int PRIMARY KEY, n int, big text, j jsonb);
-- record
INSERT INTO t SELECT 1, 1, string_agg(md5(i::text), ''), jsonb_object_agg('k' || i, md5(i::text)) FROM generate_series(1, 200) AS i;
UPDATE t SET n = 2;
UPDATE t SET n = 3, j = '{}';
