// As many tabs as asked for, each with an `EventSource`: an event for each that hears
// something before patience ends. They share a page, as they would share connections.
import { withPage } from "./browser.mjs";
import * as report from "./report.mjs";

const { url, tabs, patience_ms } = report.options;

// Runs in the page.
function open([url, tabs, patienceMs]) {
  return new Promise((resolve) => {
    const heard = new Set();
    const sources = Array.from({ length: tabs }, () => new EventSource(url));
    const stop = () => {
      for (const source of sources) source.close();
      resolve([...heard]);
    };
    setTimeout(stop, patienceMs);
    sources.forEach((source, tab) => {
      source.onmessage = () => {
        heard.add(tab);
        if (heard.size === tabs) stop();
      };
    });
  });
}

report.asked();
await withPage(new URL("/page", url).href, async (page) => {
  const heard = await page.evaluate(open, [url, tabs, patience_ms]);
  heard.forEach((tab) => report.event({ data: String(tab) }));
});
report.ended();
