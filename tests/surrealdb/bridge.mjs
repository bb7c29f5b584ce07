// Serves SurrealDB's engine 3.0 as a server does: WebSocket /rpc, subprotocol cbor. node bridge.mjs PORT ENGINE_URL
//
// Sessions, users, tokens and their expiry are the engine's own: each connection is attached to it as a session, whose
// id is added to every request. The bridge plays two parts of a server: it refuses what comes before a sign-in (the
// engine would take anybody for its owner), and it limits the size of a message. Ends when stdin does.

import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { WebSocketServer } from "ws";

const MOST_BYTES = 16 * 1024 ** 2; // of a frame, as a server takes them by default
const BEFORE_SIGN_IN = new Set(["signin", "signup", "authenticate", "use", "version", "ping"]);
const ERROR = Buffer.from([0xa1, 0x65, ...Buffer.from("error")]); // the beginning of {"error": ...}

const [port, url] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const { SurrealNodeEngine } = require("./node_modules/@surrealdb/node/dist/surrealdb-node.linux-x64-gnu.node");
const engine = await SurrealNodeEngine.connect(url, undefined);

const text = (value) => Buffer.concat([Buffer.from([0x60 + value.length]), Buffer.from(value)]); // up to 23 bytes
const list = (...items) => Buffer.concat([Buffer.from([0x80 + items.length]), ...items]);
const map = (...parts) => Buffer.concat([Buffer.from([0xa0 + parts.length / 2]), ...parts]);
const long = (value) => Buffer.concat([Buffer.from([0x79, value.length >> 8, value.length & 255]), Buffer.from(value)]);

const call = (method, params, session) =>
  engine.execute(
    map(text("id"), text("1"), text("method"), text(method), text("params"), params, ...(session ? [text("session"), session] : [])),
  );

function head(request) {
  // {"id": "1", "method": "query", ...}: the first two entries, each of them short.
  let at = 1;
  const next = () => {
    const end = at + 1 + (request[at] - 0x60);
    const found = request.subarray(at + 1, end).toString();
    at = end;
    return found;
  };
  const [, id, , method] = [next(), next(), next(), next()];
  return { id, method };
}

function withSession(request, session) {
  const longer = Buffer.concat([request, text("session"), session]);
  longer[0] += 1;
  return longer;
}

const refusal = map(
  text("error"),
  map(text("code"), Buffer.from([0x39, 0x7c, 0xff]), text("message"), long("IAM error: Not enough permissions to perform this action")),
);

await call("query", list(long("DEFINE USER IF NOT EXISTS root ON ROOT PASSWORD 'root' ROLES OWNER"), map()));

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(port),
  path: "/rpc",
  maxPayload: MOST_BYTES,
  handleProtocols: (offered) => offered.has("cbor") && "cbor",
});
server.on("connection", (socket) => {
  const session = Buffer.concat([Buffer.from([0xd8, 0x25, 0x50]), randomBytes(16)]); // tag 37, a UUID
  const attached = call("attach", list(), session);
  let signedIn = false;
  socket.on("message", async (request) => {
    await attached;
    const { id, method } = head(request);
    const allowed = signedIn || BEFORE_SIGN_IN.has(method);
    const found = allowed ? Buffer.from(await engine.execute(withSession(request, session))) : refusal;
    const failed = found.subarray(0, ERROR.length).equals(ERROR);
    if (["signin", "signup", "authenticate"].includes(method) && !failed) signedIn = true;
    if (method === "invalidate") signedIn = false;
    socket.send(map(text("id"), text(id), ...(failed ? [found.subarray(1)] : [text("result"), found])).fill(0xa2, 0, 1));
  });
  socket.on("error", () => {}); // a message that is too large: the socket is closed with 1009
  socket.on("close", () => attached.then(() => call("detach", list(), session)).catch(() => {}));
});
server.on("listening", () => console.log("ready"));
process.stdin.on("end", () => process.exit(0)).resume();
