// HTTP/2 with Node's `http2`, on one port with and without TLS, and HTTP/1.1 beside it.
// Usage: http2_node.mjs PORT CERTIFICATE PRIVATE_KEY
import { readFileSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { setTimeout as pause } from "node:timers/promises";

const [port, certificate, privateKey] = process.argv.slice(2);
const PAGE = "<!doctype html><title>page</title>\n" + "<p>An ordinary page.</p>\n".repeat(800);
const visits = new Map();

function now() {
  return performance.timeOrigin + performance.now();
}

function json(response, value) {
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify(value));
}

function start(request, response, query) {
  const visit = { opened: now(), aborted: null };
  visits.set(query.get("key"), visit);
  response.on("close", () => (visit.aborted = now()));
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  return visit;
}

function stamped(n, padding = "") {
  return `id: ${n}\ndata: ${JSON.stringify({ n, sent: now(), padding })}\n\n`;
}

const routes = {
  "/page": (request, response) => {
    response.setHeader("Content-Type", "text/html");
    response.end(PAGE);
  },

  // With padding as large as asked for.
  "/events": async (request, response, query) => {
    start(request, response, query);
    const padding = "x".repeat(Number(query.get("padding")));
    for (let n = 0; n < Number(query.get("n")); n++) {
      if (n > 0) await pause(Number(query.get("gap_ms")));
      response.write(stamped(n, padding));
    }
    response.end();
  },

  "/silence": async (request, response, query) => {
    start(request, response, query);
    response.write("id: 1\ndata: before\n\n");
    await pause(Number(query.get("ms")));
    response.end("data: after\n\n");
  },

  "/endless": async (request, response, query) => {
    const visit = start(request, response, query);
    for (let n = 0; visit.aborted === null; n++) {
      response.write(stamped(n));
      await pause(100);
    }
  },

  "/idle": (request, response, query) => {
    start(request, response, query);
    response.write(stamped(0));
  },

  // As many events as the client takes.
  "/flood": (request, response, query) => {
    const visit = start(request, response, query);
    const flow = () => {
      while (visit.aborted === null && response.write(stamped(0, "x".repeat(64 << 10))));
    };
    response.on("drain", flow);
    flow();
  },

  "/trailers": (request, response) => {
    response.writeHead(200, { Trailer: "x-checksum" });
    response.write("a body\n");
    response.addTrailers({ "x-checksum": "e3b0c442" });
    response.end();
  },

  "/upload": async (request, response) => {
    let length = 0;
    for await (const chunk of request) length += chunk.length;
    const { httpVersion, headers, trailers } = request;
    json(response, { length, httpVersion, headers, trailers });
  },

  "/probe": (request, response, query) => {
    json(response, visits.get(query.get("key")) ?? { opened: null, aborted: null });
  },
};

const missing = (request, response) => response.writeHead(404).end();

async function handle(request, response) {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  const route = routes[pathname] ?? missing;
  try {
    await route(request, response, searchParams);
  } catch (error) {
    if (!["ECONNRESET", "ERR_HTTP2_INVALID_STREAM"].includes(error.code)) throw error;
  }
}

const plain = http.createServer(handle);
const clear = http2.createServer(handle);
const secure = http2.createSecureServer(
  { cert: readFileSync(certificate), key: readFileSync(privateKey), allowHTTP1: true },
  handle,
);
const TLS_HANDSHAKE = 22;

function speaks(head) {
  if (head[0] === TLS_HANDSHAKE) return secure;
  return head.toString("latin1", 0, 3) === "PRI" ? clear : plain;
}

// Each of the three listens for itself; who comes is passed on by the first byte.
net
  .createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (head) => {
      const inner = net.connect(speaks(head).address());
      inner.on("error", () => {});
      inner.write(head);
      socket.pipe(inner).pipe(socket);
      socket.on("close", () => inner.destroy());
      inner.on("close", () => socket.destroy());
    });
  })
  .listen(Number(port), "127.0.0.1");
for (const server of [plain, clear, secure]) server.listen(0, "127.0.0.1");
