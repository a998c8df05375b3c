// Chromium's own `EventSource`, left to reconnect as it likes, until so many events were
// heard or it has given up for good.
import { withPage } from "./browser.mjs";
import * as report from "./report.mjs";

const { url, count } = report.options;

// Runs in the page.
function hear([url, count]) {
  return new Promise((resolve) => {
    const source = new EventSource(url);
    let heard = 0;
    source.onopen = () => window.report("open", "");
    source.onmessage = ({ lastEventId, data }) => {
      window.report("message", data, lastEventId);
      if (++heard === count) resolve(source.close());
    };
    source.onerror = async () => {
      const closed = source.readyState === EventSource.CLOSED;
      await window.report(closed ? "closed" : "lost", "");
      if (closed) resolve();
    };
  });
}

await withPage(new URL("/page", url).href, async (page) => {
  await page.exposeFunction("report", (type, data, id) => {
    report.event({ type, data, id });
  });
  report.asked();
  await page.evaluate(hear, [url, count]);
  report.ended();
});
