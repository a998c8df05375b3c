// Express with `express-ntlm`, as in front of a directory: who has logged in is known by
// the connection. Usage: ntlm_node.mjs PORT
//
// `/user` says who asks, `/public` asks nobody and waits for as long as it is told,
// `/probe?key=USER` tells when the connection of a user was closed. Below `/negotiate` the
// scheme has that name; its tokens are the same.
import express from "express";
import ntlm from "express-ntlm";
import { setTimeout as pause } from "node:timers/promises";

const visits = new Map();
const app = express();

function now() {
  return performance.timeOrigin + performance.now();
}

// What the package knows as NTLM.
function renamed(request, response, next) {
  const { authorization } = request.headers;
  request.headers.authorization = authorization?.replace(/^Negotiate /, "NTLM ");
  const setHeader = response.setHeader.bind(response);
  response.setHeader = (name, value) => {
    const isChallenge = name === "WWW-Authenticate";
    return setHeader(name, isChallenge ? value.replace(/^NTLM/, "Negotiate") : value);
  };
  next();
}

app.get("/probe", (request, response) => {
  response.json(visits.get(request.query.key) ?? { opened: null, aborted: null });
});

app.get("/public", async (request, response) => {
  await pause(Number(request.query.ms ?? 0));
  response.send("for everybody\n");
});

app.use("/negotiate", renamed);
app.use(ntlm());
app.use((request, response) => {
  const { UserName: user } = request.ntlm;
  if (!visits.has(user)) {
    const visit = { opened: now(), aborted: null };
    visits.set(user, visit);
    request.socket.on("close", () => (visit.aborted = now()));
  }
  response.send(`${user}\n`);
});

const server = app.listen(Number(process.argv[2]), "127.0.0.1");
// Node's five seconds would end a login by themselves.
server.keepAliveTimeout = 60_000;
