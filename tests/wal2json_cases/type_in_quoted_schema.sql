-- differs: type-name-json: "S x".t: "two""quotes"
CREATE SCHEMA "S x";
CREATE TYPE "S x".t AS ENUM ('a');
CREATE TYPE "two""quotes" AS ENUM ('b');
CREATE TABLE t (id int PRIMARY KEY, a "S x".t, b "two""quotes");
-- record
INSERT INTO t VALUES (1, 'a', 'b');
