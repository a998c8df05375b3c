// A page of Chromium whose own few lines read a stream with `fetch`, come back once with what
// names the stream in its first response, and read it again from its start.
import { withPage } from "./browser.mjs";
import * as report from "./report.mjs";

const { url, page: place, body } = report.options;

// Runs in the page.
async function hear([url, body]) {
  async function read(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const data = block.split("\n").find((line) => line.startsWith("data: "));
        if (data) await window.report("message", data.slice(6));
      }
    }
  }

  const first = await fetch(url, { method: "POST", body, headers: { accept: "text/event-stream" } });
  const stream = first.headers.get("sse-sidecar-stream");
  await window.report("stream", String(stream));
  try {
    await read(first);
  } catch (error) {
    await window.report("lost", String(error));
  }
  const headers = { accept: "text/event-stream", "last-event-id": stream };
  const second = await fetch(url, { headers });
  await window.report("open", String(second.headers.get("sse-sidecar-resumed")));
  await read(second);
}

await withPage(place ?? new URL("/page", url).href, async (page) => {
  await page.exposeFunction("report", (type, data) => {
    report.event({ type, data });
  });
  report.asked();
  await page.evaluate(hear, [url, body]);
  report.ended();
});
