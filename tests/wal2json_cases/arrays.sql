CREATE TYPE mood AS ENUM ('sad', 'very happy');
CREATE DOMAIN small AS int CHECK (VALUE < 100);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE t (id int PRIMARY KEY, i int[], t text[], n numeric(6,2)[], b bool[], y bytea[], f float8[], m mood[], s small[], p pair[], v varchar(5)[][], ts timestamptz(3)[], j jsonb[]);
-- record
INSERT INTO t VALUES (1, '{1,NULL,3}', '{NULL,"NULL","a b","a\"b","a\\b",""}', '{1.10,NaN}', '{t,f,NULL}', ARRAY['\x00ff'::bytea], '{NaN,-0,Infinity}', '{sad,"very happy"}', '{1,2}', ARRAY[ROW(1, 'x"y')::pair], '{{a,b},{c,d}}', '{2020-01-01}', ARRAY['{"a":1}'::jsonb]);
INSERT INTO t (id, i, t) VALUES (2, '[2:3][0:1]={{1,2},{3,4}}', '{}'), (3, '{}', '{{a},{b}}');
