CREATE TABLE a (id int PRIMARY KEY, v text);
CREATE TABLE b (id int PRIMARY KEY);
-- record
BEGIN;
INSERT INTO a VALUES (1, 'first');
-- in: other
BEGIN;
-- in: other
INSERT INTO a VALUES (2, 'second');
-- in: other
ALTER TABLE b ADD v int;
-- in: other
INSERT INTO b VALUES (1, 2);
-- in: other
COMMIT;
INSERT INTO b VALUES (2, 3);
UPDATE a SET v = 'both';
COMMIT;
