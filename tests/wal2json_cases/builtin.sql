CREATE TABLE t (id uuid PRIMARY KEY, v tsvector, q tsquery, i inet, c cidr, m macaddr, m8 macaddr8, b bit, b8 bit(8), vb varbit(9), vv varbit, money money, x xml, l pg_lsn, s pg_snapshot);
-- record
INSERT INTO t VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'a:1 ''it''''s'':2B', 'a & ''b c'':*', '192.168.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', '1', '10101010', '101', '', '$1,234.50', '<a b="c">&lt;</a>', '16/B374D848', '10:20:10,14,15');
INSERT INTO t (id, i, money) VALUES ('00000000-0000-0000-0000-000000000000', '::1', -0.05);
