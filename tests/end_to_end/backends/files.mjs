// What a web server of files and forms does, and says what it was asked.
// Usage: files.mjs PORT
import { createHash } from "node:crypto";
import http from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { Readable } from "node:stream";

const PAGE = "<!doctype html><title>page</title>\n" + "<p>An ordinary page.</p>\n".repeat(40);
const ETAG = '"page-1"';
const BLOCK = createHash("shake256", { outputLength: 1 << 20 }).update("block").digest();

function now() {
  return performance.timeOrigin + performance.now();
}

// Of any length, and different in each of its blocks.
function* bytes(length) {
  for (let n = 0; n * BLOCK.length < length; n++) {
    const block = Buffer.from(BLOCK);
    block.writeUInt32BE(n);
    yield block.subarray(0, length - n * BLOCK.length);
  }
}

function json(response, value) {
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify(value));
}

const routes = {
  "/page": (request, response) => {
    response.setHeader("Content-Type", "text/html");
    response.setHeader("ETag", ETAG);
    response.setHeader("Accept-Ranges", "bytes");
    if (request.headers["if-none-match"] === ETAG) return response.writeHead(304).end();
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
    if (from === undefined) {
      response.setHeader("Content-Length", PAGE.length);
      return response.end(PAGE);
    }
    if (Number(from) >= PAGE.length) {
      response.setHeader("Content-Range", `bytes */${PAGE.length}`);
      return response.writeHead(416).end();
    }
    response.setHeader("Content-Range", `bytes ${from}-${to}/${PAGE.length}`);
    response.writeHead(206).end(PAGE.slice(Number(from), Number(to) + 1));
  },

  "/nothing": (request, response) => response.writeHead(204).end(),

  "/missing": (request, response) => response.writeHead(404).end(),

  "/hints": (request, response) => {
    response.writeEarlyHints({ link: "</style.css>; rel=preload" });
    response.end("after the hints\n");
  },

  "/cookies": (request, response) => {
    response.setHeader("Set-Cookie", ["one=1; Path=/", "two=2; Path=/"]);
    response.end();
  },

  "/trailers": (request, response) => {
    response.writeHead(200, { Trailer: "X-Checksum" });
    response.write("a body\n");
    response.addTrailers({ "X-Checksum": "e3b0c442" });
    response.end();
  },

  "/download": (request, response, query) => {
    const length = Number(query.get("bytes"));
    response.setHeader("Content-Length", length);
    Readable.from(bytes(length)).pipe(response);
  },

  "/upload": async (request, response, query) => {
    await pause(Number(query.get("pause_ms")));
    const hash = createHash("sha256");
    let length = 0;
    for await (const chunk of request) {
      hash.update(chunk);
      length += chunk.length;
    }
    const { headers, trailers } = request;
    json(response, { length, sha256: hash.digest("hex"), headers, trailers });
  },

  // What was asked, as it was written.
  "/asked": (request, response) => {
    json(response, { method: request.method, target: request.url, headers: request.rawHeaders });
  },

  "/events": async (request, response, query) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    for (let n = 0; n < Number(query.get("n")); n++) {
      if (n > 0) await pause(Number(query.get("gap_ms")));
      response.write(`id: ${n}\ndata: ${JSON.stringify({ n, sent: now() })}\n\n`);
    }
    response.end();
  },

  // As many events as the client takes.
  "/flood": (request, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    const event = `data: ${"x".repeat(64 << 10)}\n\n`;
    const flow = () => {
      while (!response.destroyed && response.write(event));
    };
    response.on("drain", flow);
    flow();
  },

  "/probe": (request, response) => json(response, {}),
};

async function handle(request, response) {
  const [path, query] = request.url.split("?");
  const route = routes[path] ?? routes["/asked"];
  try {
    await route(request, response, new URLSearchParams(query));
  } catch (error) {
    // A client that leaves in the middle of its upload.
    if (error.code !== "ECONNRESET") throw error;
  }
}

const server = http.createServer(handle);
server.on("checkContinue", (request, response) => {
  if (request.url === "/refuse") return response.writeHead(403).end("no\n");
  response.writeContinue();
  handle(request, response);
});
server.listen(Number(process.argv[2]), "127.0.0.1");
