// `@microsoft/fetch-event-source`, made for pages, on Node's own fetch.
import { fetchEventSource } from "@microsoft/fetch-event-source";
import * as report from "./report.mjs";

globalThis.window = globalThis;
globalThis.document = { removeEventListener() {} };

const leaving = new AbortController();
report.asked();
await fetchEventSource(report.options.url, {
  signal: leaving.signal,
  openWhenHidden: true,
  onmessage({ event, id, data }) {
    const type = event || "message";
    if (report.event({ type, id, data })) report.leave(() => leaving.abort());
  },
  onclose: () => report.ended(),
  onerror(error) {
    throw error;
  },
});
