CREATE SCHEMA "Ünï code";
CREATE TABLE "Ünï code"."T.able with ""quotes""" ("Id" int PRIMARY KEY, "a.b" int, "per%cent %b" text, "tab	" text, "back\slash" int, "😀" bool, "select" int);
CREATE TABLE "Case" (id int PRIMARY KEY);
CREATE TABLE "case" (id int PRIMARY KEY);
-- record
INSERT INTO "Ünï code"."T.able with ""quotes""" VALUES (1, 2, '%', 'x', 5, true, NULL);
UPDATE "Ünï code"."T.able with ""quotes""" SET "Id" = 2;
UPDATE "Ünï code"."T.able with ""quotes""" SET "per%cent %b" = E'needs\nescape';
DELETE FROM "Ünï code"."T.able with ""quotes""";
INSERT INTO "Case" VALUES (1);
INSERT INTO "case" VALUES (2);
