// WebSockets with `ws`. Usage: websocket_node.mjs PORT
//
// `/echo?key=` gives back what it hears, pings who says "ping me", and remembers how
// its client went; `/close` closes and says why; `/refused` lets nobody in.
import http from "node:http";
import { WebSocketServer } from "ws";

const visits = new Map();
const server = new WebSocketServer({
  noServer: true,
  perMessageDeflate: { threshold: 0 },
  handleProtocols: (offered) => [...offered].find((name) => name.startsWith("echo.")) ?? false,
});

function now() {
  return performance.timeOrigin + performance.now();
}

function echo(socket, key) {
  const visit = { opened: now(), aborted: null, code: null };
  visits.set(key, visit);
  socket.on("message", (data, binary) => {
    if (!binary && data.toString() === "ping me") socket.ping("at the server");
    else socket.send(data, { binary });
  });
  socket.on("pong", (data) => socket.send(`pong ${data}`));
  socket.on("close", (code) => Object.assign(visit, { aborted: now(), code }));
}

const listener = http.createServer((request, response) => {
  const { searchParams } = new URL(request.url, "http://localhost");
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify(visits.get(searchParams.get("key")) ?? {}));
});

listener.on("upgrade", (request, socket, head) => {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  if (pathname === "/refused") {
    const lines = ["HTTP/1.1 403 Forbidden", "X-Reason: members", "Content-Length: 13"];
    socket.end([...lines, "", "members only\n"].join("\r\n"));
    return;
  }
  server.handleUpgrade(request, socket, head, (open) => {
    if (pathname === "/close") open.close(4001, "enough");
    else echo(open, searchParams.get("key"));
  });
});

listener.listen(Number(process.argv[2]), "127.0.0.1");
