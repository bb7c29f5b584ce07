CREATE SCHEMA ext;
CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE EXTENSION ltree SCHEMA ext;
CREATE TABLE t (id citext PRIMARY KEY, h hstore, l ext.ltree, q ext.lquery, a citext[]);
-- record
INSERT INTO t VALUES ('Key', 'a=>1, "b c"=>NULL, "q\"x"=>""', 'Top.Science', '*.a{1,2}', '{A,"b c"}');
UPDATE t SET h = '' WHERE id = 'key';
DELETE FROM t;
