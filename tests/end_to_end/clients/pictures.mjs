// The pictures of the README: the demo in mid-stream and stopped, and the status page of a
// sidecar that is at work. `docs/images/renew` calls it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, get } from "node:http";
import { createServer as reserve } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { withPage } from "./browser.mjs";

const [binary, folder] = process.argv.slice(2);
const SIZE = { width: 1366, height: 768 };

const children = [];
function run(...options) {
  const child = spawn(binary, options, { stdio: ["ignore", "pipe", "ignore"], env: {} });
  children.push(child);
  return child;
}

async function freePort() {
  const server = reserve().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

async function demo() {
  const lines = createInterface({ input: run("demo", "--port", "0").stdout });
  const [line] = await once(lines, "line");
  await withPage(/http:\S+/.exec(line)[0], async (page) => {
    await page.setViewportSize(SIZE);
    const sidecar = page.getByRole("region", { name: "Through sse-sidecar" });
    const buffering = page.getByRole("region", { name: "Through a buffering proxy" });
    await sidecar.locator("[data-of=heartbeats]").filter({ hasText: /^[2-9]/ }).waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    await buffering.getByText("The backend went on to the end.").waitFor();
    // As it is shipped, the program is called by its name.
    await page.evaluate(() => {
      const command = document.getElementById("command");
      command.textContent = command.textContent.replace(/^\S+/, "sse-sidecar");
    });
    await page.screenshot({ path: join(folder, "demo.png"), clip: { x: 0, y: 0, width: 1366, height: 680 } });
  });
}

// What the clients of the status page's sidecar ask for, and every how many ms there is an event.
const STREAMS = {
  "/v1/chat/completions": [40, 55, 70],
  "/v1/responses": [30],
  "/mcp": [2500, 0],
  "/dashboard/events": [900, 1200],
};

async function status() {
  const backend = createServer((request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    const gap = Number(new URL(request.url, "http://x").searchParams.get("gap"));
    const event = () => response.write(`data: {"token":"${"word ".repeat(3)}"}\n\n`);
    const first = setTimeout(event, 100 + gap);
    const timer = gap ? setInterval(event, gap) : null;
    response.on("close", () => (clearTimeout(first), clearInterval(timer)));
  }).listen(0, "127.0.0.1");
  await once(backend, "listening");
  const work = mkdtempSync(join(tmpdir(), "pictures-"));
  const [port, admin, nobody] = [await freePort(), await freePort(), await freePort()];
  const config = join(work, "sidecar.toml");
  writeFileSync(
    config,
    `listener = [{ address = "127.0.0.1:${port}" }]
admin.listen = "127.0.0.1:${admin}"
upstream.url = "http://127.0.0.1:${backend.address().port}"
heartbeat.interval = "2s"
[[route]]
path = "/search"
upstream.url = "http://127.0.0.1:${nobody}"
timeouts.connect_retry = "off"
`,
  );
  run("--config", config);
  const asked = (path) =>
    new Promise((resolve, reject) => {
      const headers = { accept: "text/event-stream" };
      const request = get({ port, path, headers, agent: false }, (response) => resolve(response.resume()));
      request.on("error", reject);
    });
  await listening(port);
  const open = Object.entries(STREAMS).flatMap(([path, gaps]) => gaps.map((gap) => asked(`${path}?gap=${gap}`)));
  for (let request = 0; request < 3; request++) await asked("/search");
  const responses = await Promise.all(open);
  await withPage(`http://127.0.0.1:${admin}/status`, async (page) => {
    await page.setViewportSize(SIZE);
    const heartbeats = page.getByRole("row").filter({ hasText: "/mcp" }).last().locator("[data-name=Heartbeats]");
    await heartbeats.filter({ hasText: /^[3-9]/ }).waitFor();
    await page.getByRole("button", { name: "Events/s" }).click();
    await page.screenshot({ path: join(folder, "status.png") });
  });
  responses.forEach((response) => response.destroy());
  backend.closeAllConnections();
  backend.close();
  rmSync(work, { recursive: true });
}

async function listening(port) {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const answered = await new Promise((resolve) =>
      get({ port, path: "/search", agent: false }, resolve).on("error", () => resolve(null)),
    );
    if (answered) return answered.resume();
    if (Date.now() > deadline) throw new Error(`nothing listens on port ${port}`);
  }
}

try {
  await demo();
  await status();
} finally {
  children.forEach((child) => child.kill("SIGKILL"));
}
