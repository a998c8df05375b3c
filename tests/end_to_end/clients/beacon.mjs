// A page of Chromium with an `EventSource`, that is left after so many events, and says in a
// beacon while it goes that nobody wants its stream any more.
import { withPage } from "./browser.mjs";
import * as report from "./report.mjs";

const { url, stop, count } = report.options;

// Runs in the page.
function hear([url, stop, count]) {
  return new Promise((resolve) => {
    const source = new EventSource(url);
    let heard = 0;
    source.onmessage = ({ data, lastEventId }) => {
      window.report("message", data, lastEventId);
      if (++heard !== count) return;
      window.addEventListener("pagehide", () => {
        navigator.sendBeacon(stop, lastEventId);
      });
      resolve();
    };
  });
}

await withPage(new URL("/page", url).href, async (page) => {
  await page.exposeFunction("report", (type, data, id) => {
    report.event({ type, data, id });
  });
  report.asked();
  await page.evaluate(hear, [url, stop, count]);
  await page.goto("about:blank");
  await report.left(Date.now());
});
