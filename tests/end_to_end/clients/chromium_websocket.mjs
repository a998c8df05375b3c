// Chromium's own `WebSocket`, in a page of the same origin: says each message when the one
// before it was answered, and closes.
import { withPage } from "./browser.mjs";
import * as report from "./report.mjs";

const { url, key = "", messages } = report.options;

// Runs in the page.
function talk([url, messages]) {
  return new Promise((resolve) => {
    const heard = [];
    const socket = new WebSocket(url);
    const next = () => {
      if (messages.length > 0) socket.send(messages.shift());
      else socket.close(4002, "bye");
    };
    socket.onopen = () => {
      heard.push({ type: "open", data: socket.extensions });
      next();
    };
    socket.onmessage = ({ data }) => {
      heard.push({ type: "text", data });
      next();
    };
    socket.onerror = () => heard.push({ type: "error", data: "" });
    socket.onclose = ({ code, reason }) => {
      heard.push({ type: "close", data: `${code} ${reason}` });
      resolve(heard);
    };
  });
}

const socketUrl = `${url.replace(/^http/, "ws")}?key=${key}`;
await withPage(new URL("/page", url).href, async (page) => {
  report.asked();
  const heard = await page.evaluate(talk, [socketUrl, messages]);
  heard.forEach(report.event);
  report.ended();
});
