-- What the captures are recordings of; record.py says what the lines with --@ mean. A statement ends with a line's end.

create type mood as enum ('sad', 'a "quoted" mood');
create domain email as text check (value like '%@%');
create type pair as (a int, b text);
create schema "Odd schema";

create table users (id serial primary key, name varchar(80) not null, email email, mood mood, tags text[], balance numeric(12,2));
create table orders (user_id int references users on delete cascade, number int, item text, primary key (number, user_id));
create table "Odd schema"."Ta.ble ""x""" ("select" int primary key, "Zeile	mit Tab, ü and 😀" text);
create table documents (id int primary key, title text, body text, notes text);
alter table documents alter body set storage external, alter notes set storage external;
create table long_keys (id text primary key, n int);
alter table long_keys alter id set storage external;
create table complete (a int, b text, c text);
alter table complete replica identity full;
alter table complete alter c set storage external;
create table by_index (id int primary key, code text not null, n int);
create unique index by_index_code on by_index (code);
alter table by_index replica identity using index by_index_code;
create table anonymous (a int, b text);
create table keys_only (id bigint primary key);
create table no_columns ();
create table small (id int primary key, n int);
create table changing (id int primary key, a text, b int);
create table moods (id int primary key, one mood, many mood[], duo pair, span int4range, address email);
create table generated (id int primary key, n int, twice int generated always as (n * 2) stored);
create table hard_values (id int primary key, num numeric, f8 float8, ts timestamptz, d date, i interval, b bytea, j jsonb, u uuid, t text, ok bool, matrix int[]);
create table filtered (id int primary key, shown text, hidden text);
create table rooted (id int, region text, primary key (id, region)) partition by list (region);
create table rooted_eu partition of rooted for values in ('eu');
create table rooted_us (region text, id int, primary key (id, region));
alter table rooted attach partition rooted_us for values in ('us');
create table unpublished (id int);

create publication published for table users, orders, "Odd schema"."Ta.ble ""x""", documents, long_keys, complete, by_index, anonymous, keys_only, no_columns, small, changing, moods, generated, hard_values;
create publication filtered for table filtered;
--@ since 15
alter publication filtered set table filtered (id, shown) where (id > 0);
--@ since 18
alter publication published set (publish_generated_columns = stored);
create publication rooted for table rooted with (publish_via_partition_root = true);
select pg_replication_origin_create('elsewhere "quoted"');

--@ slots

-- Single statements, one transaction each.
insert into users (name, email, mood, tags, balance) values ('Ada', 'ada@example.com', 'sad', '{a,"b c",NULL}', 12.50);
insert into users (name) values ('Grace'), ('Edsger');
update users set balance = 1.1, mood = 'a "quoted" mood' where id = 1;
insert into orders values (1, 10, 'ink'), (1, 11, NULL), (2, 10, 'paper');
update orders set item = 'blue ink' where number = 10 and user_id = 1;
delete from orders where number = 11;
insert into "Odd schema"."Ta.ble ""x""" values (1, E'tab\t, newline\n, backslash \\, \u2028, \U0001F600'), (-2147483648, '');
update "Odd schema"."Ta.ble ""x""" set "select" = 2 where "select" = 1;
insert into keys_only values (9223372036854775807), (-9223372036854775808);
delete from keys_only where id > 0;
insert into no_columns default values;
insert into anonymous values (1, 'x'), (NULL, NULL);
insert into generated (id, n) values (1, 21);
update generated set n = 22;
insert into moods values (1, 'sad', '{sad,"a \"quoted\" mood"}', '(1,"x y")', '[1,10)', 'a@b'), (2, NULL, '{}', NULL, 'empty', NULL);
insert into hard_values values (1, 'NaN', 'Infinity', 'infinity', '-infinity', '-1 year +2 days -3:04:05.678', '\x00ff', '{"a": [1, null]}', '00000000-0000-0000-0000-000000000001', E'\x01\x7f', true, '{{1,2},{3,NULL}}');
insert into hard_values values (2, 123456789012345678901234567890.123456789, '-0', '4713-01-01 00:00:00+00 BC', '5874897-12-31', '0', '', 'null', NULL, '', false, '[0:1]={1,2}');
insert into hard_values values (3, '-1e-30', 1e-45, '294276-12-31 23:59:59.999999+00', '0001-01-01', '24:00:00', NULL, '"\ud83d\ude00"', NULL, 'NULL', NULL, '{}');
--@ read

-- Unchanged TOAST, and keys that are stored out of line.
insert into documents values (1, 'one', repeat('a', 3000), 'short');
update documents set title = 'still one';
update documents set id = 2;
update documents set notes = repeat('n', 2500);
update documents set body = NULL;
delete from documents;
insert into long_keys values (repeat('k', 2200), 1);
update long_keys set n = 2;
update long_keys set id = repeat('l', 2300);
delete from long_keys;
--@ read

-- Replica identities.
insert into complete values (1, NULL, repeat('c', 2500)), (1, 'dup', 'x'), (1, 'dup', 'x');
update complete set b = 'b' where b is null;
delete from complete where b = 'dup';
insert into by_index values (1, 'one', 1), (2, 'two', 2);
update by_index set n = 3 where id = 1;
update by_index set code = 'three' where id = 1;
delete from by_index where id = 2;
alter table by_index replica identity nothing;
insert into by_index values (4, 'four', 4);
alter table by_index replica identity default;
update by_index set id = 5 where id = 4;
--@ read

-- Several changes of one row in one transaction; savepoints; what is rolled back.
begin;
insert into small values (1, 1), (2, 2), (3, 3);
update small set id = id + 100;
update small set id = 1 where id = 103;
delete from small where id = 1;
insert into small values (1, 10) on conflict (id) do update set n = excluded.n;
insert into small values (1, 11) on conflict (id) do update set n = excluded.n;
savepoint a;
insert into small values (50, 50);
savepoint b;
delete from small;
rollback to b;
insert into small values (51, 51);
release a;
savepoint c;
truncate small;
rollback to c;
commit;
begin;
insert into small values (60, 60);
rollback;
begin;
insert into unpublished values (1);
commit;
--@ read

-- TRUNCATE.
insert into anonymous values (2, 'y');
truncate anonymous;
truncate small, keys_only, unpublished;
truncate complete restart identity;
truncate users restart identity cascade;
--@ read

-- Messages.
begin;
select pg_logical_emit_message(true, 'first', 'before any change');
insert into small values (1, 1);
select pg_logical_emit_message(false, 'aside', 'not of this transaction');
select pg_logical_emit_message(true, '', '');
select pg_logical_emit_message(true, 'präfix', '\x00ff00'::bytea);
commit;
begin;
select pg_logical_emit_message(true, 'lost', 'rolled back');
select pg_logical_emit_message(false, 'kept', 'not rolled back');
rollback;
--@ read

-- An origin, with and without a position and a time.
select pg_replication_origin_session_setup('elsewhere "quoted"');
insert into small values (2, 2);
begin;
select pg_replication_origin_xact_setup('1/ABCDEF0', '2020-02-02 02:02:02+00');
update small set n = 3 where id = 2;
commit;
select pg_replication_origin_session_reset();
--@ read

-- DDL between changes of one transaction and between transactions.
begin;
insert into changing values (1, 'one', 1);
alter table changing add c text default 'filled';
insert into changing values (2, 'two', 2);
alter table changing rename a to "A";
alter table changing drop b;
update changing set c = 'changed' where id = 1;
alter table changing alter id type bigint;
delete from changing where id = 2;
commit;
alter table changing add d char(4), add e numeric(10,2), add f timestamp(3), add g bit varying(5);
insert into changing values (3, 'x', 'y', 'z', 12345, '2020-01-01 00:00:00.1239', '101');
alter table changing rename to changed;
insert into changed (id) values (4);
alter table changed set schema "Odd schema";
insert into "Odd schema".changed (id) values (5);
alter type mood add value 'glad';
insert into moods (id, one) values (3, 'glad');
--@ read

-- A row filter with a column list (15 and later), and a partitioned table under its root's name.
insert into filtered values (1, 'in', 'secret'), (-1, 'out', 'secret');
update filtered set id = 10 where id = -1;
update filtered set id = -10 where id = 10;
update filtered set hidden = 'more' where id = 1;
insert into rooted values (1, 'eu'), (2, 'us');
update rooted set region = 'us' where id = 1;
truncate rooted;
--@ read

-- Streamed: a large transaction with a savepoint rolled back, a rolled back one, and blocks without a published change.
begin;
insert into small select n, n from generate_series(1001, 1120) n;
insert into unpublished select generate_series(1, 600);
savepoint a;
insert into small select n, n from generate_series(1201, 1210) n;
insert into unpublished select generate_series(1, 600);
--@ read
rollback to a;
update small set n = -n where id between 1001 and 1010;
delete from small where id between 1011 and 1020;
insert into unpublished select generate_series(1, 600);
--@ read
commit;
begin;
insert into small select n, n from generate_series(1301, 1310) n;
insert into unpublished select generate_series(1, 600);
--@ read
rollback;
begin;
insert into unpublished select generate_series(1, 600);
--@ read
insert into unpublished select generate_series(1, 600);
commit;
--@ read

-- Streamed: every kind of change inside blocks, from a transaction with an origin.
begin;
select pg_replication_origin_session_setup('elsewhere "quoted"');
select pg_replication_origin_xact_setup('1/ABCDEF8', '2020-02-02 02:02:03+00');
insert into users (name, mood, email) values ('Barbara', 'sad', 'b@example.com');
insert into complete values (2, 'streamed', repeat('s', 2500));
update complete set b = 'old row' where a = 2;
insert into documents values (3, 'streamed', repeat('b', 3000), NULL);
update documents set title = 'unchanged body' where id = 3;
update documents set id = 4 where id = 3;
delete from documents where id = 4;
select pg_logical_emit_message(true, 'streamed', 'inside a block');
select pg_logical_emit_message(false, 'streamed', 'between blocks');
insert into unpublished select generate_series(1, 600);
--@ read
savepoint a;
alter table small add added text;
insert into small values (2001, 1, 'with a new column');
select pg_logical_emit_message(true, 'streamed', 'in a subtransaction');
savepoint b;
alter table small add "lost again" text;
insert into small values (2002, 1, 'x', 'y');
insert into unpublished select generate_series(1, 600);
--@ read
rollback to b;
insert into small values (2003, 1, 'one column less');
truncate orders, keys_only restart identity;
insert into unpublished select generate_series(1, 600);
--@ read
commit;
select pg_replication_origin_session_reset();
--@ read

-- Two large transactions at once, and a small one between their blocks.
--@ session one
begin;
insert into small select n, 1 from generate_series(3001, 3010) n;
insert into unpublished select generate_series(1, 600);
--@ session two
begin;
insert into users (name) values ('in the second');
insert into unpublished select generate_series(1, 600);
--@ read
--@ session three
insert into anonymous values (3, 'between');
--@ session one
insert into small select n, 1 from generate_series(3011, 3020) n;
insert into unpublished select generate_series(1, 600);
--@ session two
insert into users (name) values ('in the second again');
insert into unpublished select generate_series(1, 600);
--@ read
commit;
--@ read
--@ session one
rollback;
--@ read

-- Two phases: committed, rolled back, empty, and streamed.
begin;
insert into small values (4001, 1);
update small set n = 2 where id = 4001;
prepare transaction 'it''s "prepared"';
--@ read
insert into anonymous values (4, 'after the prepare');
--@ read
commit prepared 'it''s "prepared"';
begin;
insert into small values (4002, 1);
prepare transaction 'given up';
--@ read
rollback prepared 'given up';
begin;
insert into unpublished values (1);
prepare transaction 'empty';
commit prepared 'empty';
begin;
insert into small select n, 1 from generate_series(4101, 4110) n;
insert into unpublished select generate_series(1, 600);
--@ read
prepare transaction 'streamed';
--@ read
commit prepared 'streamed';
begin;
insert into small select n, 1 from generate_series(4201, 4210) n;
insert into unpublished select generate_series(1, 600);
--@ read
prepare transaction 'streamed and given up';
--@ read
rollback prepared 'streamed and given up';
--@ read
