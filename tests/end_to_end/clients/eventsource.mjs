// The `eventsource` package of npm.
import { EventSource } from "eventsource";
import * as report from "./report.mjs";

report.asked();
const source = new EventSource(report.options.url);
source.onmessage = ({ type, lastEventId: id, data }) => {
  if (report.event({ type, id, data })) report.leave(() => source.close());
};
// Its stream ended; left alone it would connect again.
source.onerror = (error) => {
  source.close();
  if (error.code || error.message) report.failed(`${error.code} ${error.message}`);
  else report.ended();
};
