-- publication: FOR TABLE nothing WITH (publish = 'insert, truncate')
CREATE TABLE nothing ();
-- record
INSERT INTO nothing DEFAULT VALUES;
TRUNCATE nothing;
