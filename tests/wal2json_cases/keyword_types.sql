-- differs: type-name-json: "select"."table"
CREATE SCHEMA "select";
CREATE TYPE "user" AS ENUM ('u');
CREATE TYPE "select"."table" AS ENUM ('t');
CREATE TYPE "order" AS (a int);
CREATE TYPE _under AS ENUM ('v');
CREATE TABLE t (id int PRIMARY KEY, u "user", t "select"."table", o "order", ua "user"[], x _under, y "char"[]);
-- record
INSERT INTO t VALUES (1, 'u', 't', ROW(1), '{u}', 'v', '{a}');
