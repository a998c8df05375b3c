// `@microsoft/fetch-event-source` in a page of Chromium: the page is at `page`, which may be
// of another origin than `url`. It sends `body`, so many `times`, with POST, and comes back as it likes.
import { createRequire } from "node:module";
import { withPage } from "./browser.mjs";
import { bundle } from "./bundle.mjs";
import * as report from "./report.mjs";

const { url, page: place, body, times = 1, headers } = report.options;
const file = createRequire(import.meta.url).resolve("@microsoft/fetch-event-source");

// Runs in the page.
async function hear([url, body, times, headers]) {
  await window.bundle.fetchEventSource(url, {
    method: "POST",
    body: body.repeat(times),
    headers,
    openWhenHidden: true,
    async onopen({ ok, status }) {
      await window.report("open", String(status));
      if (!ok) throw new Error(`status ${status}`);
    },
    onmessage: ({ event, id, data }) => window.report(event || "message", data, id),
    onerror(error) {
      window.report("lost", String(error));
      return 100;
    },
  });
}

await withPage(place ?? new URL("/page", url).href, async (page) => {
  await page.addScriptTag({ content: await bundle(file) });
  await page.exposeFunction("report", (type, data, id) => {
    report.event({ type, data, id });
  });
  report.asked();
  await page.evaluate(hear, [url, body, times, headers]);
  report.ended();
});
