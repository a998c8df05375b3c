// Chromium's own `EventSource`, in a page of the same origin.
import { withPage } from "./browser.mjs";
import * as report from "./report.mjs";

const { url, leave_after = null } = report.options;

// Runs in the page.
function hear([url, leaveAfter]) {
  return new Promise((resolve) => {
    const asked = Date.now();
    const events = [];
    const source = new EventSource(url);
    const stop = (how) => {
      const at = Date.now();
      source.close();
      resolve({ asked, events, how, at });
    };
    source.onmessage = ({ type, lastEventId: id, data }) => {
      events.push({ type, id, data, at: Date.now() });
      if (events.length === leaveAfter) stop("left");
    };
    source.onerror = () => stop("ended");
  });
}

await withPage(new URL("/page", url).href, async (page) => {
  const { asked, events, how, at } = await page.evaluate(hear, [url, leave_after]);
  report.asked(asked);
  events.forEach(report.event);
  if (how === "left") await report.left(at);
  else report.ended(at);
});
