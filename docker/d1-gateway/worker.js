// The D1 gateway: walsync's way into D1 databases at Cloudflare. It runs signed requests on the bindings of this Worker
// and says how each one ended; it decides nothing about rows and keeps nothing.
//
//   GET  /health            open: which Worker answers, and what time it has
//   POST /{DB}/apply        statements, run as one batch(): all of them take effect, or none
//   POST /{DB}/checkpoint   {"slot", "target"} -> the checkpoint stored there, or null
//   POST /{DB}/hashes       a digest of each row in a range of keys
//
// Every POST is signed: x-walsync-timestamp (Unix seconds) and x-walsync-signature, the hexadecimal HMAC-SHA256 of
// "{timestamp}.{method}.{path}.{body}" under WALSYNC_SECRET, or WALSYNC_SECRET_PREVIOUS while the secret is rotated.
//
// Refusals are {"error": {"kind", "message"}}. The kind is what walsync acts on: "stale" (409: another writer was here,
// nothing was taken), "guard" (409: a row that the request needs is not there, nothing was taken), "retry" (503: the
// outcome may be unknown); everything else is fatal.

const VERSION = 1;
const WINDOW_SECONDS = 300;
const MAX_BODY_BYTES = 32 * 1024 * 1024; // a Worker has 128 MB, and a body is in it three times
const MAX_STATEMENTS = 1000; // of one invocation, says D1
const MAX_PARAMETERS = 100;
const MAX_HASHED_ROWS = 1000;
const NEWLINE = 10;

const DATABASE = /^DB_[A-Z0-9_]{1,60}$/;
const PATH = /^\/([A-Za-z0-9_]{1,64})\/(apply|checkpoint|hashes)$/;
const GUARD = /walsync: ([a-z ]+)/;
const STALE = "stale checkpoint";
// D1 never repeats a write by itself; after these the same request may be sent again.
const RETRY =
  /network connection lost|storage caused object to be reset|reset because its code was updated|cannot resolve d1 db|overloaded|too many requests|timed out|timeout|internal error|storage operation exceeded/i;
const SQLITE = /: SQLITE_[A-Z]+( \(extended: SQLITE_[A-Z_0-9]+\))?$/;
const NO_CHECKPOINT = /no such table: _walsync_checkpoint/;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

class Refusal extends Error {
  constructor(status, kind, message, more = {}) {
    super(message);
    Object.assign(this, { status, kind, more });
  }
}

export default {
  async fetch(request, env) {
    try {
      return Response.json(await answer(request, env));
    } catch (error) {
      const refusal = error instanceof Refusal ? error : judge(error);
      const { status, kind, message, more } = refusal;
      return Response.json({ error: { kind, message, version: VERSION, ...more } }, { status });
    }
  },
};

async function answer(request, env) {
  const url = new URL(request.url);
  if (url.pathname === "/health" && request.method === "GET") {
    return { service: "walsync-d1-gateway", version: VERSION, time: now() };
  }
  const [, name, action] = PATH.exec(url.pathname) ?? [];
  if (!action || url.search) throw new Refusal(404, "path", "there is nothing at this path");
  if (request.method !== "POST") throw new Refusal(405, "method", "this path takes POST");
  const body = await readBody(request);
  await authenticate(request, url.pathname, body, env);
  const database = DATABASE.test(name) ? env[name] : undefined;
  if (typeof database?.batch !== "function") {
    const bound = Object.keys(env).filter((key) => DATABASE.test(key)).sort();
    throw new Refusal(404, "binding", `this Worker has no binding ${name}`, { bindings: bound });
  }
  if (action === "apply") return apply(database, body);
  return action === "checkpoint" ? checkpoint(database, readJson(body)) : hashes(database, readJson(body));
}

// Bounded before anything is believed, whatever content-length says.
async function readBody(request) {
  const tooLarge = new Refusal(413, "size", `a request has at most ${MAX_BODY_BYTES} bytes`);
  const announced = Number(request.headers.get("content-length") ?? 0);
  if (announced > MAX_BODY_BYTES) throw tooLarge;
  if (!request.body) return new Uint8Array(0);
  if (request.headers.has("content-length")) return new Uint8Array(await request.arrayBuffer());
  const chunks = [];
  let size = 0;
  for await (const chunk of request.body) {
    size += chunk.byteLength;
    if (size > MAX_BODY_BYTES) throw tooLarge;
    chunks.push(chunk);
  }
  const whole = new Uint8Array(size);
  chunks.reduce((offset, chunk) => (whole.set(chunk, offset), offset + chunk.byteLength), 0);
  return whole;
}

async function authenticate(request, path, body, env) {
  if (!env.WALSYNC_SECRET) throw new Refusal(500, "secret", "WALSYNC_SECRET is not set on this Worker");
  const timestamp = request.headers.get("x-walsync-timestamp") ?? "";
  const signature = request.headers.get("x-walsync-signature") ?? "";
  if (!/^\d{1,12}$/.test(timestamp) || !/^[0-9a-f]{64}$/.test(signature)) {
    throw new Refusal(401, "signature", "the request is not signed");
  }
  const head = encoder.encode(`${timestamp}.${request.method}.${path}.`);
  const signed = new Uint8Array(head.byteLength + body.byteLength);
  signed.set(head);
  signed.set(body, head.byteLength);
  const given = Uint8Array.from(signature.match(/../g), (pair) => parseInt(pair, 16));
  // verify() takes the same time wherever the signatures differ; both secrets are always tried.
  const current = await verify(env.WALSYNC_SECRET, given, signed);
  const previous = await verify(env.WALSYNC_SECRET_PREVIOUS, given, signed);
  if (!current && !previous) throw new Refusal(401, "signature", "the signature is not of this Worker's secret");
  if (Math.abs(now() - Number(timestamp)) > WINDOW_SECONDS) {
    throw new Refusal(401, "clock", `the request was signed more than ${WINDOW_SECONDS} s from now`, { time: now() });
  }
}

async function verify(secret, signature, signed) {
  if (!secret) return false;
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", encoder.encode(secret), algorithm, false, ["verify"]);
  return crypto.subtle.verify("HMAC", key, signature, signed);
}

// A body is one line of JSON, [[sql, [length | null, ...]], ...], and after it the bytes of all parameters in order: a
// parameter is a large text that nobody here needs to look into.
async function apply(database, body) {
  const end = body.indexOf(NEWLINE);
  const statements = readJson(body.subarray(0, end < 0 ? body.length : end));
  if (!Array.isArray(statements) || statements.length < 1 || statements.length > MAX_STATEMENTS) {
    throw new Refusal(400, "request", `a request has 1 to ${MAX_STATEMENTS} statements`);
  }
  let offset = end < 0 ? body.length : end + 1;
  const read = (length) => {
    if (length === null) return null;
    if (!Number.isInteger(length) || length < 0 || offset + length > body.length) {
      throw new Refusal(400, "request", "a parameter ends outside the body");
    }
    offset += length;
    return text(body.subarray(offset - length, offset));
  };
  const prepared = statements.map((statement) => {
    const [sql, lengths] = Array.isArray(statement) ? statement : [];
    if (typeof sql !== "string" || !Array.isArray(lengths) || lengths.length > MAX_PARAMETERS) {
      throw new Refusal(400, "request", "a statement is [sql, [length or null, ...]]");
    }
    return database.prepare(sql).bind(...lengths.map(read));
  });
  if (offset !== body.length) throw new Refusal(400, "request", "the body goes on after its last parameter");
  const results = await database.batch(prepared);
  const sum = (name) => results.reduce((total, { meta }) => total + (meta[name] ?? 0), 0);
  return {
    results: results.map(({ results: rows, meta }) => [(rows ?? []).map(Object.values), meta.changes ?? 0]),
    rows_read: sum("rows_read"),
    rows_written: sum("rows_written"),
  };
}

async function checkpoint(database, { slot, target }) {
  if (typeof slot !== "string" || typeof target !== "string") {
    throw new Refusal(400, "request", "name the slot and the target");
  }
  const sql =
    "SELECT target_id, system_identifier, timeline, CAST(epoch AS TEXT) AS epoch, lsn, open_commit_lsn," +
    " last_change_lsn, upto FROM _walsync_checkpoint WHERE slot = ?1 AND target = ?2";
  try {
    const row = await database.prepare(sql).bind(slot, target).first();
    return { checkpoint: row === null ? null : Object.values(row) };
  } catch (error) {
    if (NO_CHECKPOINT.test(String(error?.message))) return { checkpoint: null };
    throw error;
  }
}

// {"table", "key": [column, ...], "columns": [column, ...], "after": key | null, "upto": key | null, "limit"}: keys are
// lists of tagged texts as `tagged` writes them. The digest of a row is SHA-256 of the JSON array of its tagged columns.
async function hashes(database, { table, key, columns, after = null, upto = null, limit }) {
  const names = (list) => Array.isArray(list) && list.length > 0 && list.every((one) => typeof one === "string");
  if (typeof table !== "string" || !names(key) || !names(columns)) {
    throw new Refusal(400, "request", "name the table, its key and its columns");
  }
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_HASHED_ROWS) {
    throw new Refusal(400, "request", `limit is 1 to ${MAX_HASHED_ROWS} rows`);
  }
  const bound = [];
  const order = key.map(quote).join(", ");
  const range = [
    [">", after],
    ["<=", upto],
  ]
    .filter(([, value]) => value !== null)
    .map(([operator, value]) => `(${order}) ${operator} (${untagged(value, key.length, bound)})`);
  const where = range.length ? ` WHERE ${range.join(" AND ")}` : "";
  const selected = [...key, ...columns].map((name, index) => `${tagged(quote(name))} AS c${index}`).join(", ");
  const sql = `SELECT ${selected} FROM ${quote(table)}${where} ORDER BY ${order} LIMIT ${limit}`;
  const { results } = await database.prepare(sql).bind(...bound).all();
  const rows = results.map(Object.values);
  const digests = await Promise.all(rows.map((row) => digest(JSON.stringify(row.slice(key.length)))));
  return {
    rows: rows.map((row, index) => [row.slice(0, key.length), digests[index]]),
    complete: rows.length < limit,
  };
}

// n, i42, r0.5, x00FF or ttext: exact, where JSON would round integers beyond 2**53 and doubles to 15 digits. printf()
// drops the sign of zero, which its angle has.
function tagged(column) {
  const real = `iif(${column} = 0.0 AND atan2(${column}, -1.0) < 0, '-0.0', printf('%!.17g', ${column}))`;
  return (
    `CASE typeof(${column}) WHEN 'null' THEN 'n' WHEN 'integer' THEN 'i' || ${column} WHEN 'real' THEN 'r' || ${real}` +
    ` WHEN 'blob' THEN 'x' || hex(${column}) ELSE 't' || ${column} END`
  );
}

function untagged(values, length, bound) {
  if (!Array.isArray(values) || values.length !== length) {
    throw new Refusal(400, "request", "a key has a value for each of its columns");
  }
  const forms = { i: "CAST(? AS INTEGER)", r: "CAST(? AS REAL)", x: "unhex(?)", t: "?" };
  return values
    .map((value) => {
      const form = typeof value === "string" ? forms[value[0]] : undefined;
      if (!form) throw new Refusal(400, "request", "a key's value is a tagged text");
      return form.replace("?", `?${bound.push(value.slice(1))}`);
    })
    .join(", ");
}

async function digest(message) {
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(message)));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// What an error of D1 means. Its text names tables and columns; what a trigger of the user's says may be in it too.
function judge(error) {
  const message = String(error?.message ?? error);
  const guard = GUARD.exec(message);
  if (guard) {
    const reason = guard[1].trim();
    return new Refusal(409, reason === STALE ? "stale" : "guard", "a guard of the request stopped it", { reason });
  }
  // What SQLite says names tables and columns, and those may be called anything: `jobs.timeout`.
  if (SQLITE.test(message)) return new Refusal(422, "sqlite", message);
  if (RETRY.test(message)) return new Refusal(503, "retry", message);
  return /D1_/.test(message) ? new Refusal(422, "sqlite", message) : new Refusal(503, "retry", message);
}

function readJson(bytes) {
  try {
    return JSON.parse(text(bytes)) ?? {};
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(400, "request", "not JSON");
  }
}

function text(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new Refusal(400, "request", "not UTF-8");
  }
}

function quote(name) {
  return `"${name.replaceAll('"', '""')}"`;
}

function now() {
  return Math.floor(Date.now() / 1000);
}
