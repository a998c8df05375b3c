// Node's `http2`: an event stream on a connection with others; leaving is a reset of the
// stream alone. `authority` names the file of the authority to trust; `unread` is a path
// that is asked for first, and then not read.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import * as report from "./report.mjs";

const { url, authority, unread } = report.options;
const { origin, pathname, search } = new URL(url);
const session = http2.connect(origin, { ca: authority && readFileSync(authority) });
session.on("error", report.failed);

if (unread) await once(session.request({ ":path": unread }).pause(), "response");
report.asked();
const stream = session.request({ ":path": pathname + search, accept: "text/event-stream" });
let rest = "";
stream.setEncoding("utf8");
stream.on("data", (text) => {
  const blocks = (rest + text).split("\n\n");
  rest = blocks.pop();
  for (const block of blocks) {
    const fields = new Map(block.split("\n").map((line) => line.split(": ", 2)));
    const [id, data] = [fields.get("id"), block.split("data: ")[1]];
    if (data && report.event({ id, data })) {
      report.leave(() => stream.close(http2.constants.NGHTTP2_CANCEL));
    }
  }
});
stream.on("end", () => {
  if (stream.rstCode) return;
  report.ended();
  session.destroy();
});
