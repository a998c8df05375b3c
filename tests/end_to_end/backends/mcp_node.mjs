// An MCP server with the TypeScript SDK, whose one tool is a puppet: a test says over
// HTTP what it reports and when it is done. Usage: mcp_node.mjs PORT [forgetful]
import { randomUUID } from "node:crypto";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import express from "express";
import { z } from "zod";

const keeps = process.argv[3] !== "forgetful";
const sessions = new Map();
const visits = new Map();

function now() {
  return performance.timeOrigin + performance.now();
}

// All that was ever sent, by streams.
class Events {
  #sent = [];

  async storeEvent(streamId, message) {
    this.#sent.push({ streamId, message });
    return String(this.#sent.length);
  }

  async replayEventsAfter(lastEventId, { send }) {
    const { streamId } = this.#sent[lastEventId - 1];
    for (let id = Number(lastEventId) + 1; id <= this.#sent.length; id++) {
      const { streamId: of, message } = this.#sent[id - 1];
      // A message without a version is the event that opens a stream.
      if (of === streamId && message.jsonrpc) await send(String(id), message);
    }
    return streamId;
  }
}

// One client: its call of the puppet, and its connections.
function visited(key) {
  if (!visits.has(key)) {
    const seen = { opened: null, aborted: null, cancelled: null, done: null, listening: 0 };
    visits.set(key, { seen });
  }
  return visits.get(key);
}

function puppetServer() {
  const capabilities = { resources: { subscribe: true } };
  const server = new McpServer({ name: "puppet", version: "1" }, { capabilities });
  server.registerTool("puppet", { inputSchema: { key: z.string() } }, async ({ key }, extra) => {
    const visit = visited(key);
    Object.assign(visit, { server, extra });
    visit.seen.opened = now();
    extra.signal.onabort = () => (visit.seen.cancelled = now());
    await new Promise((finish) => (visit.finish = finish));
    return { content: [{ type: "text", text: "done" }] };
  });
  return server;
}

async function session(request) {
  const known = sessions.get(request.headers["mcp-session-id"]);
  if (known) return known;
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    ...(keeps && { eventStore: new Events(), retryInterval: 50 }),
    onsessioninitialized: (id) => sessions.set(id, transport),
  });
  await puppetServer().connect(transport);
  return transport;
}

const app = express();
app.use(express.json());

app.all("/mcp", async (request, response) => {
  const { seen } = visited(request.query.key);
  const listens = request.method === "GET";
  if (listens) seen.listening++;
  response.on("close", () => {
    if (listens) seen.listening--;
    else if (!response.writableFinished) seen.aborted = now();
    else if (visited(request.query.key).finished) seen.done = now();
  });
  await (await session(request)).handleRequest(request, response, request.body);
});

app.post("/say", async (request, response) => {
  const { extra } = visited(request.query.key);
  const progress = Number(request.query.number);
  const { progressToken } = extra._meta;
  const params = { progressToken, progress, total: 100, message: `step ${progress}` };
  await extra.sendNotification({ method: "notifications/progress", params });
  response.json(null);
});

app.post("/announce", async (request, response) => {
  const { server } = visited(request.query.key);
  await server.server.sendResourceUpdated({ uri: `note://${request.query.number}` });
  response.json(null);
});

app.post("/finish", (request, response) => {
  const visit = visited(request.query.key);
  visit.finished = true;
  visit.finish();
  response.json(null);
});

app.get("/probe", (request, response) => {
  response.json(visited(request.query.key).seen);
});

app.listen(Number(process.argv[2]), "127.0.0.1");
