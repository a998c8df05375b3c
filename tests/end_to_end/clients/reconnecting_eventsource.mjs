// The `eventsource` package of npm, left to reconnect as it likes, until so many events were
// heard or it has given up for good.
import { EventSource } from "eventsource";
import * as report from "./report.mjs";

const { url, count } = report.options;
let heard = 0;

report.asked();
const source = new EventSource(url);
source.onopen = () => report.event({ type: "open", data: "" });
source.onmessage = ({ lastEventId: id, data }) => {
  report.event({ id, data });
  if (++heard === count) stop();
};
source.onerror = () => {
  const closed = source.readyState === EventSource.CLOSED;
  report.event({ type: closed ? "closed" : "lost", data: "" });
  if (closed) stop();
};

function stop() {
  source.close();
  report.ended();
}
