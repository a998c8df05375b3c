// The MCP SDK for TypeScript: calls the puppet, and says what it hears of it and
// besides. `leave` says what leaving is: to "cancel" the call, or to "close" the client.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ResourceUpdatedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import * as report from "./report.mjs";

const { url, key, leave } = report.options;
const client = new Client({ name: "listener", version: "1" });
const cancelling = new AbortController();
let leaving;

function hear(type, data) {
  if (!report.event({ type, data })) return;
  const close = { cancel: () => cancelling.abort(), close: () => client.close() }[leave];
  leaving = report.leave(close);
}

client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) =>
  hear("announcement", params.uri),
);
report.asked();
await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp?key=${key}`)));
try {
  const result = await client.callTool({ name: "puppet", arguments: { key } }, undefined, {
    signal: cancelling.signal,
    onprogress: ({ message }) => hear("progress", message),
  });
  hear("result", result.content[0].text);
  report.ended();
  await client.close();
} catch (error) {
  if (!leaving) throw error;
  await leaving;
}
