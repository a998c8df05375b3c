// `ws`: opens a WebSocket, says each message when the one before it was answered, and
// closes. A message is a text, `{ bytes: n }` or `{ ping: text }`. With `crowd`, so many
// do it at the same time.
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import WebSocket from "ws";
import * as report from "./report.mjs";

const { url, key = "", messages = [], protocols = [], crowd = 1, authority } = report.options;
const ca = authority && readFileSync(authority);

function summary(data) {
  return `${data.length} ${createHash("sha256").update(data).digest("hex")}`;
}

async function say(socket, message) {
  if (message.ping) {
    socket.ping(message.ping);
    const [data] = await once(socket, "pong");
    return { type: "pong", data: data.toString() };
  }
  socket.send(message.bytes ? Buffer.alloc(message.bytes, "ws") : message);
  const [data, binary] = await once(socket, "message");
  return binary
    ? { type: "binary", data: summary(data) }
    : { type: "text", data: data.toString() };
}

async function talk() {
  const socket = new WebSocket(`${url}?key=${key}`, protocols, {
    perMessageDeflate: { threshold: 0 },
    ca,
  });
  const closed = once(socket, "close");
  const refused = once(socket, "unexpected-response");
  const opened = once(socket, "open").then(() => null);
  const refusal = await Promise.race([refused, opened]);
  if (refusal) {
    // From here on the connection is ours to close.
    const [, response] = refusal;
    const { socket: connection } = response;
    const body = (await response.setEncoding("utf8").toArray()).join("");
    connection.destroy();
    const { statusCode, headers } = response;
    return report.event({ type: "refused", data: `${statusCode} ${headers["x-reason"]} ${body}` });
  }
  report.event({ type: "open", data: `${socket.protocol} ${socket.extensions}` });
  for (const message of messages) {
    const leaving = report.event(await say(socket, message));
    if (leaving) await report.leave(() => socket.terminate());
  }
  if (messages.length > 0) socket.close(4002, "bye");
  const [code, reason] = await closed;
  report.event({ type: "close", data: `${code} ${reason}` });
}

report.asked();
await Promise.all(Array.from({ length: crowd }, talk));
report.ended();
