-- publication: FOR TABLE published WITH (publish = 'insert, update')
-- differs: not-published: other
-- differs: actions-not-published: delete
CREATE TABLE published (id int PRIMARY KEY, v text);
CREATE TABLE other (id int PRIMARY KEY);
-- record
INSERT INTO published VALUES (1, 'a');
BEGIN;
INSERT INTO other VALUES (1);
UPDATE published SET v = 'b';
COMMIT;
INSERT INTO other VALUES (2);
DELETE FROM published;
TRUNCATE published;
