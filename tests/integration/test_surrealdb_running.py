"""A real source into SurrealDB servers by `walsync run`: the graph of its foreign keys, and no secret anywhere."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from fix_postgres import Database
from fix_proxy import Proxy
from fix_replication import Replication
from fix_surrealdb import PASSWORD, USER, VERSIONS, SurrealServer
from fix_walsync import Walsync, eventually

SECONDS = 60
SECRET = "s3cret-$raal`pass"
TABLES = """
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, doc jsonb, tags text[], at timestamptz, n numeric(8, 2));
CREATE TABLE places (code text, part int, name text, PRIMARY KEY (code, part));
CREATE TABLE posts (id bigint PRIMARY KEY, author int NOT NULL REFERENCES users ON UPDATE CASCADE, code text, part int,
    body text, FOREIGN KEY (part, code) REFERENCES places (part, code) ON UPDATE CASCADE);
ALTER TABLE posts ALTER body SET STORAGE EXTERNAL;
CREATE TABLE likes (who int REFERENCES users ON UPDATE CASCADE ON DELETE CASCADE,
    what bigint REFERENCES posts ON DELETE CASCADE, note text, PRIMARY KEY (who, what));
INSERT INTO users SELECT i, 'user ' || i, '{"a": [1, null, {"b": 2}]}', '{x,NULL}', '2026-01-01', i
    FROM generate_series(1, 40) i;
INSERT INTO places SELECT c, p, c || p FROM unnest('{eu,us}'::text[]) c, generate_series(1, 3) p;
INSERT INTO posts SELECT i, i % 40 + 1, 'eu', i % 3 + 1, repeat('x', 3000) FROM generate_series(1, 80) i;
INSERT INTO likes SELECT i % 40 + 1, i, 'copied' FROM generate_series(1, 80) i;
"""
CHANGES = """
UPDATE users SET id = id + 1000 WHERE id % 10 = %(n)s;
UPDATE users SET doc = NULL, name = name || '!' WHERE id % 7 = %(n)s;
UPDATE posts SET code = 'us', part = 1 WHERE id % 9 = %(n)s;
UPDATE posts SET code = NULL WHERE id % 11 = %(n)s;
UPDATE places SET part = part + 10 WHERE code = 'eu' AND part = 2 AND %(n)s = 3;
INSERT INTO likes SELECT u.id, p.id, 'streamed' FROM users u, posts p
    WHERE u.id % 13 = %(n)s AND p.id % 20 = %(n)s ON CONFLICT DO NOTHING;
UPDATE likes SET what = 81 - what WHERE what % 15 = %(n)s AND what < 40
    AND NOT EXISTS (SELECT FROM likes AS o WHERE o.who = likes.who AND o.what = 81 - likes.what);
DELETE FROM likes WHERE who % 5 = %(n)s;
DELETE FROM users WHERE id IN (SELECT id FROM users WHERE id NOT IN (SELECT author FROM posts) LIMIT 2);
DELETE FROM posts WHERE id = %(n)s * 3;
"""
OPTIONS = [
    {"table": "public.users", "schemafull": True, "nulls": "none"},
    {"table": "public.places"},
    {"table": "public.posts", "links": {"author": "author", "place": ["code", "part"]}},
    {"table": "public.likes", "edge": {"in": "who", "out": "what"}, "schemafull": True},
]


@pytest.fixture(params=VERSIONS)
def server(request: pytest.FixtureRequest, start_surrealdb: Callable[..., SurrealServer]) -> SurrealServer:
    return start_surrealdb(request.param)


def entry(server: SurrealServer, port: int, **changes: object) -> dict[str, object]:
    keys = {"name": "graph", "type": "surrealdb", "url": server.url_at(port), "namespace": "app", "database": "app"}
    return {**keys, "username": USER, "password": PASSWORD, "tables": OPTIONS, **changes}


def test_the_graph_of_the_foreign_keys_follows_copy_and_stream(
    source: Database,
    server: SurrealServer,
    new_proxy: Callable[[str, int], Proxy],
    walsync_command: Callable[..., Walsync],
) -> None:
    source.execute(TABLES)
    replication = Replication(source, {}, ["public.*"])
    proxy = new_proxy(server.host, server.port)
    walsync = walsync_command(yaml.safe_dump({**replication.content, "targets": [entry(server, proxy.port)]}))
    for number in range(5):
        walsync.start("run")
        eventually(lambda: proxy.connections or not walsync.is_running, SECONDS, "a connection")
        source.execute(CHANGES.replace("%(n)s", str(number)))
        proxy.cut()
        source.execute(CHANGES.replace("%(n)s", str(number + 5)))
        walsync.sigkill()
        eventually(lambda: not proxy.connections, SECONDS, "the next connection to be the next process'")
    catch_up(walsync)
    assert_graph_is_equal(source, server)

    source.execute("TRUNCATE likes; INSERT INTO likes SELECT author, id, 'again' FROM posts")
    catch_up(walsync)
    assert_graph_is_equal(source, server)


def catch_up(walsync: Walsync) -> None:
    code = walsync.run("run", "--until-caught-up", "--timeout", f"{SECONDS}s", timeout=2 * SECONDS)
    assert code == 0, walsync.output


def assert_graph_is_equal(source: Database, server: SurrealServer) -> None:
    users, places, posts, likes = server.execute(
        "SELECT * FROM users; SELECT * FROM places; SELECT * FROM posts; SELECT * FROM likes"
    )
    expected = source.execute("SELECT id, name, doc, tags, n::float FROM users ORDER BY id")
    assert (
        sorted((row["id"].value[1], row["name"], row.get("doc"), row["tags"], float(row["n"].value)) for row in users)
        == expected
    )
    assert sorted(row["id"].value[1] for row in places) == source.execute("SELECT code, part FROM places ORDER BY 1, 2")
    assert {row["id"].value[1]: (ends(row, "author"), ends(row, "place"), row["body"]) for row in posts} == {
        id_: (author, None if code is None else (code, part), body)
        for id_, author, code, part, body in source.execute("SELECT id, author, code, part, body FROM posts")
    }
    wanted = source.execute("SELECT who, what, note FROM likes ORDER BY 1, 2")
    assert sorted((*row["id"].value[1], row["note"]) for row in likes) == wanted
    assert all((ends(row, "in"), ends(row, "out")) == row["id"].value[1] == (row["who"], row["what"]) for row in likes)
    (walked,) = server.execute("SELECT id, ->likes->posts.id AS liked FROM users")
    assert sorted((row["id"].value[1], post.value[1]) for row in walked for post in row["liked"]) == [
        one[:2] for one in wanted
    ]


def ends(row: dict[str, Any], field: str) -> Any:  # noqa: ANN401
    return None if row[field] is None else row[field].value[1]


def test_no_secret_stands_in_log_status_or_configuration(
    source: Database,
    server: SurrealServer,
    new_proxy: Callable[[str, int], Proxy],
    walsync_command: Callable[..., Walsync],
) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    server.execute(
        f'DEFINE USER someone ON DATABASE PASSWORD "{SECRET}" ROLES EDITOR DURATION FOR TOKEN 1s, FOR SESSION 1s'
    )
    who = {"username": "someone", "password": SECRET, "level": "database", "tables": None}
    proxy = new_proxy(server.host, server.port)
    content = Replication(source, {}, ["public.*"]).content
    wrong = {**who, "name": "wrong", "password": SECRET[::-1]}
    targets = [entry(server, proxy.port, **who), entry(server, proxy.port, **wrong)]
    walsync = walsync_command(yaml.safe_dump({**content, "targets": targets}))
    walsync.start("run")
    eventually(lambda: "WS4609" in walsync.stderr.read_text(), SECONDS, "the other target to stop")
    eventually(lambda: "table_copied" in walsync.stderr.read_text(), SECONDS, "the copy")
    proxy.cut()
    source.execute("INSERT INTO t VALUES (2)")
    eventually(lambda: len(server.execute("SELECT * FROM t")[0]) == 2, SECONDS, "the row")
    walsync.terminate()
    walsync.wait(SECONDS)
    assert walsync.run("check") == 1
    assert walsync.run("config") == 0
    said = walsync.stdout.read_text() + walsync.stderr.read_text()
    assert "WS4609" in said
    for secret in (SECRET, SECRET[::-1], "eyJ"):  # the last begins every token
        assert secret not in said
