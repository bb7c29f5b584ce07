CREATE TABLE t (id int PRIMARY KEY, i interval, ym interval year to month, ds interval day to second(3), h interval hour, p interval(0), m interval minute to second);
-- record
INSERT INTO t VALUES (1, '1 year -2 mons 3 days -04:05:06.789', '1-2', '3 04:05:06.789', '7 hours', '1.6 sec', '5:06.7');
INSERT INTO t VALUES (2, '-178000000 years', '-1-2', '-3 04:05:06.789', '-7 hours', '0', '-00:01');
INSERT INTO t VALUES (3, '0', NULL, '0', '25:00', '24:00:00', '09:59');
