CREATE SCHEMA other;
CREATE TYPE "Mood Six" AS ENUM ('so so', 'a "quoted" one', 'back\slash', 'ü');
CREATE TYPE other.plain AS ENUM ('a', 'b');
CREATE TYPE other."Camel" AS ENUM ('x');
CREATE TABLE t ("Mood Six" "Mood Six" PRIMARY KEY, p other.plain, c other."Camel", l other.plain[], m "Mood Six"[]);
-- record
INSERT INTO t VALUES ('so so', 'a', 'x', '{a,b}', '{"so so"}'), ('a "quoted" one', 'b', NULL, NULL, '{"a \"quoted\" one"}'), ('back\slash', NULL, NULL, '{}', NULL), ('ü', NULL, NULL, NULL, NULL);
UPDATE t SET p = 'a' WHERE p = 'b';
DELETE FROM t WHERE "Mood Six" = 'so so';
