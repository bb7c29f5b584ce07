CREATE TABLE t (id int PRIMARY KEY, j json, b jsonb, p jsonpath);
-- record
INSERT INTO t VALUES (1, '{"a": 1,  "a": 2, "b":"\u0000"}', '{"a": 1, "b": [1.10, null, "x\"y"]}', '$.a[*] ? (@ > 1)');
INSERT INTO t VALUES (2, '"\ud83d\ude00"', '"\ud83d\ude00"', '$');
INSERT INTO t VALUES (3, E'{\n\t"k": "v"\n}', '{}', NULL), (4, 'null', 'null', NULL), (5, '1.10', '1.10', NULL);
