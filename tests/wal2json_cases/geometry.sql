CREATE TABLE t (id int PRIMARY KEY, p point, l line, s lseg, b box, a path, o path, g polygon, c circle);
-- record
INSERT INTO t VALUES (1, '(1.5,-0)', '{1,2,3}', '[(0,0),(1,1)]', '(2,2),(1,1)', '((0,0),(1,1))', '[(0,0),(1,1)]', '((0,0),(1,0),(1,1))', '<(0,0),2.5>');
INSERT INTO t (id, p) VALUES (2, '(NaN,Infinity)');
