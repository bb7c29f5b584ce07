-- publication: FOR ALL TABLES WITH (publish = 'insert')
CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, v text);
-- record
INSERT INTO t VALUES (1, 'a');
UPDATE t SET v = 'b';
