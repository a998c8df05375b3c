// The OpenAI SDK for Node; `api` is "chat" or "responses".
import OpenAI from "openai";
import * as report from "./report.mjs";

const { url, api } = report.options;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const ask = {
  chat: () =>
    client.chat.completions.create({
      model: "mock",
      stream: true,
      messages: [{ role: "user", content: "Say six words." }],
    }),
  responses: () =>
    client.responses.create({ model: "mock", stream: true, input: "Say six words." }),
};

report.asked();
const stream = await ask[api]();
for await (const chunk of stream) {
  if (report.event({ type: chunk.type, data: JSON.stringify(chunk) })) {
    await report.leave(() => stream.controller.abort());
  }
}
report.ended();
