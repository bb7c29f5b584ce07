CREATE TABLE t (id int PRIMARY KEY, c char(5), c1 char, q "char", n name, v varchar, v9 varchar(9), b bpchar, x text COLLATE "C");
-- record
INSERT INTO t VALUES (1, 'ab', 'x', 'y', 'name', 'v', 'nine', 'b  ', 'ä'), (2, '', '', '', '', '', '', '', '');
INSERT INTO t VALUES (3, 'äöüßé', 'ä', '\377', repeat('n', 63), 'tab	', '123456789', '  ', '"');
UPDATE t SET c = 'z' WHERE id = 1;
