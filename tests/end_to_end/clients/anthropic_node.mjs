// The Anthropic SDK for Node.
import Anthropic from "@anthropic-ai/sdk";
import * as report from "./report.mjs";

const client = new Anthropic({ baseURL: report.options.url, apiKey: "none", maxRetries: 0 });

report.asked();
const stream = await client.messages.create({
  model: "mock",
  max_tokens: 100,
  stream: true,
  messages: [{ role: "user", content: "Say six words." }],
});
for await (const event of stream) {
  if (report.event({ type: event.type, data: JSON.stringify(event) })) {
    await report.leave(() => stream.controller.abort());
  }
}
report.ended();
