// Express with `compression`, which gzips an event stream for every client that
// offers gzip, and holds the events until its buffer is full. Usage: server.mjs PORT
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import compression from "compression";
import express from "express";

const AWKWARD = readFileSync(new URL("../awkward.sse", import.meta.url));
const PAGE = "<!doctype html><title>page</title>\n" + "<p>An ordinary page.</p>\n".repeat(800);

const app = express();
const visits = new Map();
app.use(compression());

function now() {
  return performance.timeOrigin + performance.now();
}

function stamped(n) {
  return `id: ${n}\ndata: ${JSON.stringify({ n, sent: now() })}\n\n`;
}

function start(response) {
  response.set("Content-Type", "text/event-stream");
  response.flushHeaders();
}

// A GET stream never flushes the compressor, as most code never does; a POST
// stream does, since there only the backend can.
function write(request, response, bytes) {
  response.write(bytes);
  if (request.method === "POST") response.flush();
}

app.all("/events", async (request, response) => {
  start(response);
  for (let n = 0; n < Number(request.query.n); n++) {
    if (n > 0) await pause(Number(request.query.gap_ms));
    write(request, response, stamped(n));
  }
  response.end();
});

// Three silences: between events, inside an event, inside a line.
app.get("/silence", async (request, response) => {
  const ms = Number(request.query.ms);
  start(response);
  response.write("id: 1\ndata: before\n\n");
  await pause(ms);
  response.write("data: first half\n");
  await pause(ms);
  response.write("data: second half\n\ndata: in a ");
  await pause(ms);
  response.end("line\n\n");
});

app.all("/awkward", async (request, response) => {
  start(response);
  for (let at = 0; at < AWKWARD.length; at += 5) {
    write(request, response, AWKWARD.subarray(at, at + 5));
    await pause(2);
  }
  response.end();
});

function visited(request, response) {
  const visit = { opened: now(), aborted: null };
  visits.set(request.query.key, visit);
  response.on("close", () => (visit.aborted = now()));
  return visit;
}

// With `retry`, it says after how many milliseconds it may be asked for more.
app.get("/endless", async (request, response) => {
  const visit = visited(request, response);
  start(response);
  if (request.query.retry) response.write(`retry: ${request.query.retry}\n\n`);
  for (let n = 0; visit.aborted === null; n++) {
    response.write(stamped(n));
    await pause(100);
  }
});

// One event, and then nothing for as long as the client has patience.
app.get("/idle", (request, response) => {
  visited(request, response);
  start(response);
  response.write(stamped(0));
});

// Not even a head.
app.get("/headless", visited);

app.get("/probe", (request, response) => {
  response.json(visits.get(request.query.key) ?? { opened: null, aborted: null });
});

app.get("/page", (request, response) => {
  response.send(PAGE);
});

app.listen(Number(process.argv[2]), "127.0.0.1");
