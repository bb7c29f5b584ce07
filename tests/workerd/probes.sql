-- One probe per line: an expression, whose type and exact value are asked, or statements, which begin with a word in
-- capital letters. They are run on embedded D1 and on workerd; test_d1_parity.py names those that differ.
abs(-5)
abs(-9223372036854775807)
abs('x')
abs(NULL)
char(72, 228, 8364)
coalesce(NULL, 2)
concat('a', 1)
concat_ws(',', 'a', NULL, 'b')
format('%d|%5.2f|%s|%q', 7, 1.5, 'x', 'it''s')
glob('a*', 'abc')
hex('ä')
hex(x'00ff')
ifnull(NULL, 'x')
iif(1 > 2, 'a', 'b')
instr('hello', 'l')
instr('ä€', '€')
length('ä€')
length(x'0001')
length(NULL)
like('a%', 'ABC')
like('a_c', 'abc')
lower('ÄBC')
upper('äbc')
ltrim('  x ')
rtrim('xaa', 'a')
trim('  x ')
max(1, 'a', NULL)
max(1, 2.5)
min(3, 2)
nullif(1, 1)
octet_length('ä')
printf('%!.17g', 0.1)
printf('%.3f', 2.0005)
printf('%x', 255)
printf('%05d', 42)
printf('%,d', 1234567)
printf('%e', 12345.678)
quote('it''s')
quote(1.5)
quote(x'0aff')
quote(NULL)
replace('aXbX', 'X', '--')
round(2.5)
round(-2.5)
round(2.345, 2)
sign(-3)
soundex('Robert')
substr('hello', 2, 3)
substr('hello', -3)
substr(x'010203', 2, 1)
typeof(1)
typeof(1.0)
typeof('1')
typeof(x'01')
typeof(NULL)
unhex('00FF')
unhex('0g')
unhex('123')
unhex('')
unhex(NULL)
unicode('€')
zeroblob(3)
likely(1)
unlikely(0)
likelihood(1, 0.5)
string_agg('a', ',')
group_concat('x')
total(1)
sum(1)
avg(2)
count(*)
sqlite_version()
sqlite_source_id()
sqlite_compileoption_used('X')
load_extension('x')
changes()
total_changes()
last_insert_rowid()
subtype(json('1'))
acos(1)
asin(0)
atan(1)
atan2(-0.0, -1.0)
atan2(0.0, -1.0)
atan2(1, 0)
atan2('1', 1)
ceil(1.2)
ceiling(-1.2)
cos(0)
degrees(1)
exp(1)
floor(-1.5)
ln(2)
log(100)
log(2, 8)
log2(8)
mod(7, 3)
pi()
pow(2, 10)
power(2, 0.5)
radians(180)
sin(0)
sinh(1)
sqrt(2)
tan(0)
trunc(-1.7)
random()
randomblob(4)
no_such_function(1)
abs()
substr('a')
json('{"a": 1}')
json('[1,')
json('{a:1}')
json('[1,2,]')
json_array(1, 'a', NULL, 2.5)
json_array(x'00')
json_array()
json_array_length('[1,[2,3]]')
json_array_length('[1,[2,3]]', '$[1]')
json_extract('{"a":[1,2]}', '$.a[1]')
json_extract('{"a":"x"}', '$.a')
json_extract('{"a":null}', '$.a')
json_extract('[1]', '$[#-1]')
json_extract('[1]', 'bad')
'{"a":{"b":2}}' -> '$.a'
'{"a":{"b":2}}' ->> '$.a'
'[10,20]' -> 1
'[10,20]' ->> 1
'[10,20]' ->> 5
'[10,20]' ->> -1
'[9007199254740993]' ->> 0
'[-9223372036854775808]' ->> 0
'[9223372036854775808]' ->> 0
'[1e400]' ->> 0
'[0.1]' ->> 0
'[1.0]' ->> 0
'[1e15]' ->> 0
'[123456789.125]' ->> 0
'["a\u0000b"]' ->> 0
'["\ud83d\ude00"]' ->> 0
'["\u00e4"]' ->> 0
'[true]' ->> 0
'[false]' ->> 0
'[null]' ->> 0
'[[1,2]]' ->> 0
'{"a b":1}' ->> '$."a b"'
'{"a":1}' ->> 'a'
json_insert('{"a":1}', '$.b', 2)
json_insert('[1]', '$[#]', 2)
json_object('a', 1, 'b', NULL)
json_object('a')
json_object(1, 2)
json_patch('{"a":1,"b":2}', '{"a":null,"c":3}')
json_quote('a"b')
json_quote(1.5)
json_remove('[1,2,3]', '$[1]')
json_replace('{"a":1}', '$.a', 9)
json_set('{"a":1}', '$.b', json('[1]'))
json_type('[1.5]', '$[0]')
json_type('[1]', '$[0]')
json_type('["x"]', '$[0]')
json_type('[null]', '$[0]')
json_type('{}')
json_valid('{"a":1}')
json_valid('{a:1}')
json_valid('x')
json_group_array(1)
json_group_object('a', 1)
json_error_position('[1,x]')
json_valid('{a:1}', 2)
jsonb('[1]')
json_pretty('[1]')
json_group_array(x'00')
(SELECT count(*) FROM json_each('[1,2,3]'))
(SELECT group_concat(fullkey) FROM json_tree('{"a":[1]}'))
(SELECT group_concat(type) FROM json_each('[1,"a",null,true,1.5,[],{}]'))
(SELECT group_concat(key) FROM json_each('{"a":1,"b":2}'))
(SELECT count(*) FROM json_each(NULL))
(SELECT count(*) FROM json_each(''))
(SELECT sum(value) FROM json_each('[1,2,3]'))
(SELECT group_concat(j.value ->> 1) FROM json_each('[[1,"a"],[2,"b"]]') AS j)
json_extract('{"a":1}', '$.a', '$.b')
9223372036854775807
9223372036854775807 + 1
-9223372036854775808
9007199254740993
0.1 + 0.2
1e308 * 10
-1e308 * 10
1 / 0
7 / 2
-7 / 2
7 % -3
7.5 % 2
1.0 / 3
-0.0
0 * -1.0
5e-324
1.7976931348623157e308
2.2250738585072014e-308
123456789012345678
1e15
1e16
1e21
0x1F
1_000
'5' + 3
'5x' + 3
'x' + 3
'1e3' + 0
NULL + 1
'a' || 1.0
'a' || 1e20
'a' || NULL
x'61' || 'b'
CAST('12abc' AS INTEGER)
CAST('1e3' AS INTEGER)
CAST(1.9 AS INTEGER)
CAST(-1.9 AS INTEGER)
CAST(9e18 AS INTEGER)
CAST(9007199254740993 AS TEXT)
CAST(0.1 AS TEXT)
CAST(1e100 AS TEXT)
CAST(x'6162' AS TEXT)
CAST('ab' AS BLOB)
CAST('0.1' AS REAL)
CAST('0x10' AS INTEGER)
CAST('1.5' AS NUMERIC)
CAST('10' AS NUMERIC)
CAST(NULL AS TEXT)
CAST('9223372036854775808' AS INTEGER)
1 = 1.0
1 = '1'
'a' = 'A'
'a' = 'A' COLLATE NOCASE
'a ' = 'a' COLLATE RTRIM
NULL IS NULL
1 IS NOT 2
NULL = NULL
1 IS DISTINCT FROM NULL
(1, 2) = (1, 2)
(1, NULL) IS (1, NULL)
(1, 2) < (1, 3)
'b' > 'a'
'ä' > 'z'
x'ff' > 'z'
2 > '1'
1 < 'a'
1 BETWEEN 0 AND 2
3 IN (1, 2, 3)
NULL IN (1)
1 IN (SELECT 1)
(1, 2) IN (SELECT 1, 2)
'abc' LIKE 'A%'
'abc' GLOB 'a[b]c'
'a%' LIKE 'a\%' ESCAPE '\'
'abc' REGEXP 'a'
'abc' MATCH 'a'
NOT 0
1 AND NULL
0 OR NULL
~5
1 << 62
1 << 64
-1 >> 1
6 & 3
6
3
CASE 1 WHEN 1 THEN 'a' ELSE 'b' END
CASE WHEN NULL THEN 1 END
EXISTS (SELECT 1)
true
false
current_date IS NULL
'2024-02-29'
date('2024-02-29', '+1 year')
datetime('2024-01-31', '+1 month')
time('12:00', '-1 hour')
julianday('2000-01-01')
strftime('%Y-%m-%dT%H:%M:%SZ', '2024-02-29 01:02:03')
strftime('%s', '1970-01-02')
strftime('%f', '2024-01-01 00:00:00.1235')
unixepoch('2024-01-01')
unixepoch('2024-01-01 00:00:00.5', 'subsec')
date('bad')
timediff('2024-03-01', '2024-02-01')
strftime('%G-W%V-%u', '2024-12-30')
strftime('%e', '2024-01-05')
date('2024-01-31', 'ceiling')
datetime('2024-01-01', 'utc')
length(hex(zeroblob(999999)))
length(hex(zeroblob(1000001)))
length(printf('%.*c', 2000001, 'x'))
-- statements
CREATE TABLE p (a INTEGER PRIMARY KEY, b TEXT) STRICT; INSERT INTO p VALUES (1, 'x'); SELECT * FROM p
CREATE TABLE p (a TEXT PRIMARY KEY, b ANY) STRICT, WITHOUT ROWID; INSERT INTO p VALUES (1, 2.0), ('b', '3'); SELECT typeof(a), typeof(b) FROM p
CREATE TABLE p (a INTEGER) STRICT; INSERT INTO p VALUES ('5'), (6.0); SELECT a, typeof(a) FROM p
CREATE TABLE p (a INTEGER) STRICT; INSERT INTO p VALUES ('x')
CREATE TABLE p (a INTEGER) STRICT; INSERT INTO p VALUES (1.5)
CREATE TABLE p (a BLOB) STRICT; INSERT INTO p VALUES ('x')
CREATE TABLE p (a VARCHAR(10)) STRICT
CREATE TABLE p (a INTEGER PRIMARY KEY); INSERT INTO p VALUES (1), (1)
CREATE TABLE p (a INT NOT NULL); INSERT INTO p VALUES (NULL)
CREATE TABLE p (a INT CHECK (a > 0)); INSERT INTO p VALUES (0)
CREATE TABLE p (a INT UNIQUE, b INT UNIQUE); INSERT INTO p VALUES (1, 1); INSERT OR IGNORE INTO p VALUES (1, 2); SELECT * FROM p
CREATE TABLE p (a INT PRIMARY KEY, b INT); INSERT INTO p VALUES (1, 1); INSERT OR REPLACE INTO p VALUES (1, 2); SELECT * FROM p
CREATE TABLE p (a INT PRIMARY KEY, b INT); INSERT INTO p VALUES (1, 1) ON CONFLICT (a) DO UPDATE SET b = excluded.b + 1; SELECT * FROM p
CREATE TABLE p (a INT PRIMARY KEY, b INT); INSERT INTO p VALUES (1, 1), (1, 5) ON CONFLICT (a) DO UPDATE SET b = excluded.b; SELECT * FROM p
CREATE TABLE p (a INT, b INT); INSERT INTO p VALUES (1, 1) ON CONFLICT (a) DO NOTHING
CREATE TABLE p (a INT); INSERT INTO p VALUES (1), (2) RETURNING a * 2 AS doubled
CREATE TABLE p (a INT); INSERT INTO p SELECT value FROM json_each('[1,2,3]'); SELECT sum(a) FROM p
CREATE TABLE p (a INT, b INT); INSERT INTO p VALUES (1, 1), (2, 2); UPDATE p AS t SET b = s.v FROM (SELECT 2 AS k, 9 AS v) AS s WHERE t.a = s.k; SELECT * FROM p
CREATE TABLE p (a INT, b INT); INSERT INTO p VALUES (1, 1), (2, 2); DELETE FROM p WHERE (a, b) IN (SELECT 1, 1); SELECT * FROM p
CREATE TABLE p (a INT); INSERT INTO p VALUES (1), (2), (3); DELETE FROM p ORDER BY a LIMIT 1
CREATE TABLE p (a INT, b INT AS (a * 2) STORED); INSERT INTO p (a) VALUES (4); SELECT * FROM p
CREATE TABLE p (a INT DEFAULT (1 + 1), b TEXT DEFAULT 'x'); INSERT INTO p DEFAULT VALUES; SELECT * FROM p
CREATE TABLE p (a INT); ALTER TABLE p ADD COLUMN b TEXT DEFAULT 'n'; INSERT INTO p VALUES (1, 'q'); SELECT * FROM p
CREATE TABLE p (a INT, b INT); ALTER TABLE p DROP COLUMN b; SELECT sql FROM sqlite_master WHERE name = 'p'
CREATE TABLE p (a INT); ALTER TABLE p RENAME TO q; SELECT name FROM sqlite_master WHERE name IN ('p', 'q')
CREATE TABLE p (a INT); ALTER TABLE p RENAME COLUMN a TO b; SELECT sql FROM sqlite_master WHERE name = 'p'
CREATE TABLE p (a INT); CREATE INDEX i ON p (a DESC) WHERE a > 0; PRAGMA index_list(p)
CREATE TABLE p (a INT); CREATE UNIQUE INDEX i ON p (lower(a)); INSERT INTO p VALUES ('A'), ('a')
CREATE TABLE p (a INT); CREATE VIEW v AS SELECT a + 1 AS b FROM p; INSERT INTO p VALUES (1); SELECT * FROM v
CREATE TABLE p (a INT); CREATE TRIGGER g BEFORE INSERT ON p WHEN new.a < 0 BEGIN SELECT RAISE(ABORT, 'negative'); END; INSERT INTO p VALUES (-1)
CREATE TABLE p (a INT); CREATE TRIGGER g BEFORE INSERT ON p WHEN new.a < 0 BEGIN SELECT RAISE(IGNORE); END; INSERT INTO p VALUES (-1); SELECT count(*) FROM p
CREATE TABLE p (a INT); CREATE TRIGGER g AFTER INSERT ON p BEGIN UPDATE p SET a = a + 1; END; INSERT INTO p VALUES (1); SELECT * FROM p
CREATE TABLE p (a INT); CREATE TRIGGER g BEFORE INSERT ON p BEGIN SELECT RAISE(ROLLBACK, 'all'); END; INSERT INTO p VALUES (-1)
CREATE TABLE p (a INTEGER PRIMARY KEY); CREATE TABLE q (b INT REFERENCES p (a)); INSERT INTO q VALUES (1)
CREATE TABLE p (a INTEGER PRIMARY KEY); CREATE TABLE q (b INT REFERENCES p (a) ON DELETE CASCADE); INSERT INTO p VALUES (1); INSERT INTO q VALUES (1); DELETE FROM p; SELECT count(*) FROM q
CREATE TABLE p (a INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO p VALUES (NULL); SELECT * FROM sqlite_sequence
CREATE VIRTUAL TABLE p USING fts5(t); INSERT INTO p VALUES ('hello world'); SELECT count(*) FROM p WHERE p MATCH 'world'
CREATE VIRTUAL TABLE p USING rtree(i, a, b)
CREATE TABLE p (a INT) WITHOUT ROWID
CREATE TABLE p (a INT, A INT)
CREATE TABLE p (a INT, PRIMARY KEY (z))
CREATE TABLE sqlite_p (a INT)
CREATE TABLE _cf_p (a INT)
SELECT * FROM _cf_KV
SELECT * FROM _cf_METADATA
CREATE TEMP TABLE p (a INT)
CREATE TEMPORARY VIEW p AS SELECT 1
CREATE TABLE p (a INT); CREATE TEMP TRIGGER g AFTER INSERT ON p BEGIN SELECT 1; END
ATTACH ':memory:' AS other
DETACH main
BEGIN
BEGIN IMMEDIATE
COMMIT
ROLLBACK
SAVEPOINT s
RELEASE s
VACUUM
REINDEX
ANALYZE
EXPLAIN QUERY PLAN SELECT 1
PRAGMA journal_mode
PRAGMA synchronous = OFF
PRAGMA user_version
PRAGMA user_version = 3
PRAGMA foreign_keys = OFF
PRAGMA page_count
PRAGMA schema_version
PRAGMA encoding
PRAGMA database_list
PRAGMA table_list(p)
PRAGMA table_info(p)
CREATE TABLE p (a INT, b TEXT NOT NULL DEFAULT 'x', PRIMARY KEY (b, a)) STRICT; PRAGMA table_xinfo(p)
CREATE TABLE p (a INT UNIQUE); PRAGMA index_list(p)
CREATE TABLE p (a INT UNIQUE); PRAGMA index_info(sqlite_autoindex_p_1)
CREATE TABLE p (a INT UNIQUE); PRAGMA index_xinfo(sqlite_autoindex_p_1)
CREATE TABLE p (a INTEGER PRIMARY KEY); CREATE TABLE q (b INT REFERENCES p (a)); PRAGMA foreign_key_list(q)
CREATE TABLE p (a INT); PRAGMA foreign_key_check
CREATE TABLE p (a INT); PRAGMA quick_check
CREATE TABLE p (a INT); PRAGMA integrity_check
PRAGMA optimize
PRAGMA case_sensitive_like = ON; SELECT 'a' LIKE 'A'
PRAGMA recursive_triggers = ON
PRAGMA defer_foreign_keys = ON; SELECT 1
PRAGMA function_list
PRAGMA compile_options
SELECT * FROM pragma_table_info('p')
SELECT name FROM pragma_function_list WHERE name = 'abs' LIMIT 1
SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 ORDER BY 1
SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6
SELECT count(*) FROM (VALUES (1), (2), (3), (4), (5), (6), (7))
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT sum(i) FROM n
WITH a AS MATERIALIZED (SELECT 1 AS x) SELECT * FROM a
SELECT row_number() OVER (ORDER BY value DESC) AS r, value FROM json_each('[3,1,2]') ORDER BY r
SELECT sum(value) OVER (ORDER BY value ROWS 1 PRECEDING) AS s FROM json_each('[1,2,3]') ORDER BY s
SELECT value FROM json_each('[3,1,2]') ORDER BY value NULLS FIRST LIMIT 2 OFFSET 1
SELECT group_concat(value, '-' ORDER BY value) AS g FROM json_each('[3,1,2]')
SELECT sum(value) FILTER (WHERE value > 1) AS s FROM json_each('[3,1,2]')
SELECT a.value AS x, b.value AS y FROM json_each('[1,2]') AS a FULL JOIN json_each('[2,3]') AS b ON a.value = b.value ORDER BY x, y
SELECT a.value AS x FROM json_each('[1,2]') AS a RIGHT JOIN json_each('[2,3]') AS b ON a.value = b.value ORDER BY x
SELECT 1 AS a EXCEPT SELECT 1
SELECT 1 AS a INTERSECT SELECT 1
SELECT DISTINCT value FROM json_each('[1,1,2]') ORDER BY 1
SELECT value, count(*) AS n FROM json_each('[1,1,2]') GROUP BY value HAVING count(*) > 1
SELECT * FROM generate_series(1, 3)
SELECT * FROM dbstat
SELECT * FROM sqlite_master
SELECT "no_such_column"
SELECT no_such_column
SELECT 'a' "b"
SELEC 1
SELECT 1;;
SELECT 1 FROM missing
UPDATE missing SET a = 1
DROP TABLE missing
DROP TABLE IF EXISTS missing
DROP INDEX missing
