// Google's GenAI SDK for Node, which reads events by their blank lines.
import { GoogleGenAI } from "@google/genai";
import * as report from "./report.mjs";

const client = new GoogleGenAI({ apiKey: "none", httpOptions: { baseUrl: report.options.url } });
const leaving = new AbortController();

report.asked();
const stream = await client.models.generateContentStream({
  model: "mock",
  contents: "Say six words.",
  config: { abortSignal: leaving.signal },
});
for await (const chunk of stream) {
  const { sdkHttpResponse, responseId, ...data } = chunk;
  if (report.event({ data: JSON.stringify({ ...data, sent: Number(responseId) }) })) {
    await report.leave(() => leaving.abort());
  }
}
report.ended();
