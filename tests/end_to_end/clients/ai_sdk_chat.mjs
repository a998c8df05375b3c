// A chat of the AI SDK in Chromium. It asks a question, is reloaded when it has shown `reload_at`,
// and done when it has shown `until` and is ready for more. What it knows after a reload of the
// time before is `messages`. Each time it is opened it says what came of its wish to resume.
import { withPage } from "./browser.mjs";
import { bundle } from "./bundle.mjs";
import * as report from "./report.mjs";

const { url, id, question, reload_at, until, messages = [] } = report.options;

await withPage(`${url}/page`, async (page) => {
  page.on("pageerror", report.failed);
  const chat = await bundle(new URL("pages/chat.mjs", import.meta.url).pathname);
  await page.exposeFunction("report", (type, data) => {
    report.event({ type, data });
  });
  const start = async (messages) => {
    const answered = page.waitForResponse((response) => response.url().endsWith("/stream"));
    await page.addScriptTag({ content: chat });
    await page.evaluate((properties) => window.bundle.start(properties), { id, messages });
    report.event({ type: "resumed", data: String((await answered).status()) });
  };
  const shown = (text, status = "") =>
    page.locator(`main[data-status${status && `=${status}`}]`).filter({ hasText: text }).waitFor();

  report.asked();
  await start([]);
  await page.evaluate((text) => void window.say(text), question);
  await shown(reload_at);
  report.event({ type: "reload", data: "" });
  await page.reload();
  await start(messages);
  await shown(until, "ready");
  report.ended();
});
