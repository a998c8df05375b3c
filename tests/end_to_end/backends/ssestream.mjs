// Node.js with `ssestream` of 2020, which says `Transfer-Encoding: identity`.
// Usage: ssestream.mjs PORT
import { createHash } from "node:crypto";
import http from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import ssestream from "ssestream";

const PAGE = "<!doctype html><title>page</title>\n" + "<p>An ordinary page.</p>\n".repeat(800);
const ETAG = '"page-1"';
const SseStream = ssestream.default;
const visits = new Map();

function now() {
  return performance.timeOrigin + performance.now();
}

function stamped(n) {
  return { id: String(n), data: { n, sent: now() } };
}

function stream(request, response) {
  const events = new SseStream(request);
  events.pipe(response);
  return events;
}

function json(response, value) {
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify(value));
}

const routes = {
  "/events": async (request, response, query) => {
    const events = stream(request, response);
    for (let n = 0; n < Number(query.get("n")); n++) {
      if (n > 0) await pause(Number(query.get("gap_ms")));
      events.write(stamped(n));
    }
    events.end();
  },

  "/endless": async (request, response, query) => {
    const visit = { opened: now(), aborted: null };
    visits.set(query.get("key"), visit);
    response.on("close", () => (visit.aborted = now()));
    const events = stream(request, response);
    for (let n = 0; visit.aborted === null; n++) {
      events.write(stamped(n));
      await pause(100);
    }
  },

  "/probe": (request, response, query) => {
    json(response, visits.get(query.get("key")) ?? { opened: null, aborted: null });
  },

  "/upload": async (request, response) => {
    const hash = createHash("sha256");
    let length = 0;
    for await (const chunk of request) {
      hash.update(chunk);
      length += chunk.length;
    }
    json(response, { length, sha256: hash.digest("hex") });
  },

  "/page": (request, response) => {
    response.setHeader("ETag", ETAG);
    if (request.headers["if-none-match"] === ETAG) return response.writeHead(304).end();
    response.setHeader("Content-Type", "text/html");
    response.end(PAGE);
  },

  "/nothing": (request, response) => response.writeHead(204).end(),
};

const server = http.createServer((request, response) => {
  const [path, query] = request.url.split("?");
  const missing = () => response.writeHead(404).end("not here\n");
  (routes[path] ?? missing)(request, response, new URLSearchParams(query));
});
server.listen(Number(process.argv[2]), "127.0.0.1");
