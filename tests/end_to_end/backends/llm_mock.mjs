// A model that is not there: the streams of OpenAI Chat Completions, OpenAI
// Responses, Anthropic Messages and Gemini, as their SDKs expect them.
// Usage: llm_mock.mjs PORT
//
// The base URL says how: `/{manner}/{key}`, where the manner is `plain`,
// `ids` (events have an `id`), `comments` (there is one before each event), `gzip` (compressed, flushed after each event),
// `thinking` (silent before the head), `limited` (the same, and then a 429), `broken`
// (reset after the second delta), `short` (ended there) or `endless`, and the key names
// the stream for `/probe?key=`.
import http from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { createGzip } from "node:zlib";
import { FORMATS } from "./llm_formats.mjs";

const GAP_MS = 150;
const SILENCE_MS = 1000;
const visits = new Map();

function now() {
  return performance.timeOrigin + performance.now();
}

async function readJson(request) {
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) text += chunk;
  return JSON.parse(text);
}

const addSent = (data, sent) => ({ ...data, sent });

function framed({ name, data }, id, stamp = addSent) {
  const lines = [];
  if (id !== undefined) lines.push(`id: ${id}`);
  if (name) lines.push(`event: ${name}`);
  lines.push(`data: ${typeof data === "string" ? data : JSON.stringify(stamp(data, now()))}`);
  return lines.join("\n") + "\n\n";
}

function* endless({ start, delta }) {
  yield* start;
  for (let n = 0; ; n++) yield delta(n);
}

// The third delta comes after a silence.
function* finite({ start, delta, end }) {
  yield* start;
  yield delta(0);
  yield delta(1);
  yield "silence";
  for (let n = 2; n < 6; n++) yield delta(n);
  yield* end;
}

async function stream(manner, format, response) {
  const gzip = manner === "gzip" ? createGzip() : null;
  response.writeHead(200, {
    "Content-Type": "text/event-stream; charset=utf-8",
    ...(gzip && { "Content-Encoding": "gzip" }),
  });
  gzip?.pipe(response);
  const sink = gzip ?? response;
  let id = 0;
  for (const event of manner === "endless" ? endless(format) : finite(format)) {
    if (response.closed) return;
    if (event === "silence") {
      if (manner === "broken") return response.socket.resetAndDestroy();
      if (manner === "short") break;
      await pause(SILENCE_MS);
      continue;
    }
    if (manner === "comments") sink.write(": x\n\n");
    sink.write(framed(event, manner === "ids" ? ++id : undefined, format.stamp));
    gzip?.flush();
    await pause(GAP_MS);
  }
  sink.end();
}

function limit(response) {
  response.writeHead(429, { "Content-Type": "application/json" });
  response.end(JSON.stringify({ error: { type: "rate_limit_error", message: "slow down" } }));
}

const server = http.createServer(async (request, response) => {
  const url = new URL(request.url, "http://mock");
  if (url.pathname === "/probe") {
    const visit = visits.get(url.searchParams.get("key")) ?? { opened: null, aborted: null };
    return response.end(JSON.stringify(visit));
  }
  const [, manner, key, ...path] = url.pathname.split("/");
  const format = FORMATS[path.join("/")];
  if (!format || request.method !== "POST") return response.writeHead(404).end();
  await readJson(request);
  const visit = { opened: now(), aborted: null };
  visits.set(key, visit);
  response.on("close", () => (visit.aborted = response.writableFinished ? null : now()));
  if (manner === "thinking" || manner === "limited") await pause(SILENCE_MS);
  if (manner === "limited") return limit(response);
  await stream(manner, format, response);
});
server.listen(Number(process.argv[2]), "127.0.0.1");
