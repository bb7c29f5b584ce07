// Starts workerd with the gateway Worker and six databases, offline, and prints one line of JSON when it answers.
//
//   node run.mjs '{"folder", "databases": {binding: id}, "secrets": {name: value}}'
//
// "gateway" is the Worker beside this folder as it is; "plain" runs any SQL unsigned: the demo looks, tests also trouble.
// It ends when its standard input does: with its parent, however that ends.
import { readFileSync } from "node:fs";
import { Miniflare } from "miniflare";

const { folder, databases, secrets } = JSON.parse(process.argv[2]);
const PLAIN = `
export default {
  async fetch(request, env) {
    try {
      const database = env[new URL(request.url).pathname.slice(1)];
      const { statements, raw } = await request.json();
      const prepared = statements.map(([sql, parameters]) => database.prepare(sql).bind(...parameters));
      const results = raw ? [await prepared[0].raw({ columnNames: true })] : await database.batch(prepared);
      return Response.json({ results });
    } catch (error) {
      return Response.json({ error: String(error.message) }, { status: 400 });
    }
  },
};`;
const worker = {
  modules: true,
  compatibilityDate: "2026-04-01",
  d1Databases: databases,
  unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
};
const gateway = readFileSync(new URL("../worker.js", import.meta.url), "utf8");
const miniflare = new Miniflare({
  host: "127.0.0.1",
  port: 0,
  cf: false,
  d1Persist: folder,
  workers: [
    { ...worker, name: "gateway", script: gateway, bindings: secrets },
    { ...worker, name: "plain", script: PLAIN },
  ],
});
await miniflare.ready;
const addresses = {};
for (const name of ["gateway", "plain"]) addresses[name] = String(await miniflare.unsafeGetDirectURL(name));
console.log(JSON.stringify(addresses));
process.stdin.on("end", async () => {
  await miniflare.dispose();
  process.exit(0);
}).resume();
