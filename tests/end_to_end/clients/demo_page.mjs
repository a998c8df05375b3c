// A person at the demo: sees it begin by itself, looks at it in the silence, stops it with
// the keyboard, and takes the command from it; then on a phone, and calmly.
import { faults } from "./axe.mjs";
import { withPage } from "./browser.mjs";

const { url, screenshot } = JSON.parse(process.argv[2]);

// Runs in the page.
function columns() {
  const look = (id) => {
    const column = document.getElementById(id);
    const text = (name) => column.querySelector(`[data-of=${name}]`).textContent;
    const { top, bottom } = column.getBoundingClientRect();
    return {
      answer: column.querySelector(".answer").textContent,
      tokens: Number(text("tokens")),
      heartbeats: Number(text("heartbeats")),
      wasted: text("wasted") === "–" ? null : Number(text("wasted")),
      outcome: column.querySelector(".outcome").textContent,
      top: Math.round(top),
      bottom: Math.round(bottom),
    };
  };
  return { buffering: look("buffering"), sidecar: look("sidecar") };
}

await withPage(url, async (page) => {
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.setViewportSize({ width: 1366, height: 768 });
  const sidecar = page.getByRole("region", { name: "Through sse-sidecar" });
  const buffering = page.getByRole("region", { name: "Through a buffering proxy" });

  await sidecar.getByText("You are reading this").waitFor();
  const early = await page.evaluate(columns);

  const heartbeats = sidecar.locator("[data-of=heartbeats]");
  await heartbeats.filter({ hasText: /^[1-9]/ }).waitFor();
  const silent = await page.evaluate(columns);

  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await sidecar.getByText("The backend stopped").waitFor();
  await buffering.getByText("The backend goes on.").waitFor();
  await buffering.locator("[data-of=wasted]").filter({ hasText: /^[1-9]/ }).waitFor();
  const stopped = await page.evaluate(columns);
  const found = { light: await faults(page) };
  await page.screenshot({ path: screenshot, fullPage: true });

  await buffering.getByText("The backend went on to the end.").waitFor();
  const over = await page.evaluate(columns);
  const focus = await page.evaluate(() => document.activeElement.textContent);

  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy" }).click();
  await page.getByText("Copied.").waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  const status = await page.getByRole("link", { name: "live status page" }).getAttribute("href");

  await page.setViewportSize({ width: 360, height: 740 });
  await page.emulateMedia({ colorScheme: "dark" });
  found.phone = await faults(page);
  const phone = await page.evaluate(columns);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

  await page.emulateMedia({ reducedMotion: "reduce" });
  await page.reload();
  const start = page.getByRole("button", { name: "Start" });
  await start.waitFor();
  const calm = await page.evaluate(columns);
  await start.click();
  await sidecar.getByText("You are reading this").waitFor();

  const seen = { early, silent, stopped, over };
  console.log(JSON.stringify({ seen, phone, calm, overflow, focus, copied, status, found, errors }));
});
