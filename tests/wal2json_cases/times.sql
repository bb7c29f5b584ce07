CREATE TABLE t (id int PRIMARY KEY, ts timestamp, tz timestamptz, d date, t0 time(0), tt timetz, t3 timestamp(3), z2 timestamptz(2));
-- record
INSERT INTO t VALUES (1, 'infinity', '-infinity', 'infinity', '24:00:00', '23:59:59.999999+15:59', '2020-01-01 00:00:00.1239', '2020-01-01 12:00:00.129+03');
INSERT INTO t VALUES (2, '294276-12-31 23:59:59.999999', '4713-01-01 00:00:00+00 BC', '5874897-12-31', '00:00:00', '00:00:00-15:59', '0001-01-01 BC', '1883-11-18 12:03:58-04:56:02');
INSERT INTO t VALUES (3, '2026-11-21 01:02:03.100', '2026-11-21 01:02:03.000001+05:30', '0044-03-15 BC', '12:34:56', '04:05:06-08', NULL, NULL);
