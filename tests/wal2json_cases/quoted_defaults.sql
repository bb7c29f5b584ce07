-- differs: default-json
CREATE TABLE t (id int PRIMARY KEY, j jsonb DEFAULT '{"a": 1}', b text DEFAULT E'back\\slash', n text DEFAULT E'new\nline', f int DEFAULT length('"'));
-- record
INSERT INTO t (id) VALUES (1);
UPDATE t SET id = 2;
