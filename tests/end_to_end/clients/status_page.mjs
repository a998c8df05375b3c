// An operator at the status page: a backend that streams on every path, two clients of
// it through the sidecar, and what is to be seen of them.
import { createServer, get } from "node:http";
import { faults as violations } from "./axe.mjs";
import { withPage } from "./browser.mjs";

const { admin, proxied, port, failing, screenshot } = JSON.parse(process.argv[2]);
const HOSTILE = "/%3Cscript%3Ealert(1)%3C/script%3E/\"'&lt;b{}|";
const QUIET = "/quiet";

const backend = createServer((request, response) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write("data: 0\n\n");
  if (request.url === QUIET) return;
  const timer = setInterval(() => response.write("data: x\n\n"), 100);
  response.on("close", () => clearInterval(timer));
}).listen(port, "127.0.0.1");

const ended = (path) =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(proxied);
    const asked = get({ hostname, port, path, agent: false }, (response) => {
      response.on("end", () => resolve("clean")).on("error", () => resolve("cut"));
      response.resume();
    });
    asked.on("error", reject);
  });

// Runs in the page.
function look() {
  const row = (tr) => {
    const [request, ...cells] = tr.children;
    const named = cells.map((cell) => [cell.dataset.name, cell.textContent]);
    return { request: request.firstChild.textContent, ...Object.fromEntries(named) };
  };
  const rows = [...document.querySelectorAll("#requests tbody tr")];
  const figures = [...document.querySelectorAll("#totals > div")].map((tile) => [...tile.children]);
  const section = (id) => document.getElementById(id).getBoundingClientRect().top;
  const file = document.getElementById("file");
  const keys = [...file.querySelectorAll("tbody th")].map((key) => key.textContent);
  return {
    file: file.hidden ? null : { note: file.querySelector("p").textContent, keys },
    figures: Object.fromEntries(figures.map(([name, figure]) => [name.textContent, figure.textContent])),
    failures: [...document.querySelectorAll("#failures tbody tr")].map((tr) => tr.textContent),
    order: ["totals", "upstreams", "failures", "requests", "ends"].sort((a, b) => section(a) - section(b)),
    heights: rows.map((tr) => Math.round(tr.getBoundingClientRect().height)),
    note: document.getElementById("requests-note").textContent,
    rows: rows.filter((tr) => tr.children.length > 1).map(row),
    title: document.title,
    scripts: document.querySelectorAll("script").length,
    background: getComputedStyle(document.body).backgroundColor,
    overflow: document.documentElement.scrollWidth - window.innerWidth,
  };
}

// What an operator finds with the keyboard: the order, a part of it, and more of one request.
async function search(page) {
  const moments = {};
  await page.getByRole("button", { name: "Events", exact: true }).press("Enter");
  moments.most = await page.evaluate(look);
  await page.getByRole("button", { name: "Events", exact: true }).press("Enter");
  moments.least = await page.evaluate(look);
  moments.sorted = await page.locator("[aria-sort]").evaluateAll((all) => all.map((th) => [th.textContent, th.ariaSort]));
  await page.getByRole("searchbox", { name: "Filter" }).fill("get QUIET");
  moments.filtered = await page.evaluate(look);
  const line = page.getByRole("button", { name: `GET ${QUIET}`, exact: true });
  await line.press("Enter");
  moments.details = await page.locator("#requests small:visible").textContent();
  await line.press("Enter");
  await page.getByRole("searchbox", { name: "Filter" }).fill("");
  return moments;
}

if (failing) {
  await new Promise((resolve) => get(`${proxied}${failing}`, (response) => response.resume().on("end", resolve)));
}
const streams = { hostile: ended(HOSTILE), quiet: ended(QUIET) };
await withPage(`${admin}/status`, async (page) => {
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  const row = (path) => page.getByRole("row").filter({ hasText: path });
  const events = row("script").locator("[data-name=Events]");
  await events.filter({ hasText: /[1-9]/ }).waitFor();
  await row(QUIET).waitFor();
  await page.setViewportSize({ width: 1366, height: 768 });
  const light = await page.evaluate(look);
  const before = await events.textContent();
  await events.filter({ hasNotText: new RegExp(`^${before}$`) }).waitFor();
  const later = await page.evaluate(look);
  const faults = { light: await violations(page) };
  const searched = await search(page);

  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await page.evaluate(look);
  faults.dark = await violations(page);
  await page.setViewportSize({ width: 360, height: 740 });
  await page.getByText("Configuration in force").click();
  const phone = await page.evaluate(look);
  faults.phone = await violations(page);
  await page.getByRole("combobox", { name: "Sort by" }).selectOption("Bytes");
  const phoneSorted = await page.evaluate(look);
  await page.getByRole("button", { name: "Reverse" }).click();
  const phoneReversed = await page.evaluate(look);
  await page.screenshot({ path: screenshot, fullPage: true });

  const buttons = await page.getByRole("button", { name: /^End / }).count();
  let end = null;
  if (buttons) {
    page.on("dialog", (dialog) => dialog.accept());
    // With the keyboard, and while rows are being updated.
    await page.getByRole("button", { name: `End GET ${QUIET}` }).focus();
    await page.keyboard.press("Enter");
    end = await streams.quiet;
    await row(QUIET).waitFor({ state: "detached" });
    await row("An operator ended the stream").waitFor();
  }
  const config = await page.locator("#config").textContent();
  const left = await page.evaluate(look);
  console.log(JSON.stringify({ light, later, dark, phone, searched, phoneSorted, phoneReversed, faults, errors, buttons, end, left, config }));
});
backend.closeAllConnections();
backend.close();
process.exit(0);
