-- publication: FOR ALL TABLES WITH (publish = 'insert')
-- differs: pk-beside-full-or-index
CREATE TABLE nothing (id int PRIMARY KEY, v text);
ALTER TABLE nothing REPLICA IDENTITY NOTHING;
CREATE TABLE nokey (a int, v text);
-- record
INSERT INTO nothing VALUES (1, 'a');
UPDATE nothing SET v = 'b';
DELETE FROM nothing;
INSERT INTO nokey VALUES (1, 'a');
UPDATE nokey SET v = 'b';
DELETE FROM nokey;
