// What a stream of each API is made of: how it starts, the n-th delta, its end, and,
// where a field `sent` would not do, how an event says when it was sent.
const MODEL = "mock";

function chatChunk(delta, finish_reason = null) {
  const choices = [{ index: 0, delta, finish_reason, logprobs: null }];
  return {
    data: { id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: MODEL, choices },
  };
}

const chat = {
  start: [chatChunk({ role: "assistant", content: "" })],
  delta: (n) => chatChunk({ content: `word ${n} ` }),
  end: [chatChunk({}, "stop"), { data: "[DONE]" }],
};

function response(status, output) {
  return {
    id: "resp_1",
    object: "response",
    created_at: 1,
    model: MODEL,
    status,
    output,
    parallel_tool_calls: true,
    tool_choice: "auto",
    tools: [],
    error: null,
    incomplete_details: null,
    instructions: null,
    metadata: {},
  };
}

function typed(type, rest) {
  return { name: type, data: { type, ...rest } };
}

const part = (text) => ({ type: "output_text", text, annotations: [] });
const message = (status, content) => ({
  id: "msg_1",
  type: "message",
  role: "assistant",
  status,
  content,
});
const place = { item_id: "msg_1", output_index: 0, content_index: 0 };
const words = "word 0 word 1 word 2 word 3 word 4 word 5 ";
const done = message("completed", [part(words)]);

const responses = {
  start: [
    typed("response.created", { sequence_number: 0, response: response("in_progress", []) }),
    typed("response.output_item.added", {
      sequence_number: 1,
      output_index: 0,
      item: message("in_progress", []),
    }),
    typed("response.content_part.added", { sequence_number: 2, ...place, part: part("") }),
  ],
  delta: (n) =>
    typed("response.output_text.delta", {
      sequence_number: 3 + n,
      ...place,
      delta: `word ${n} `,
      logprobs: [],
    }),
  end: [
    typed("response.output_text.done", {
      sequence_number: 9,
      ...place,
      text: words,
      logprobs: [],
    }),
    typed("response.content_part.done", { sequence_number: 10, ...place, part: part(words) }),
    typed("response.output_item.done", { sequence_number: 11, output_index: 0, item: done }),
    typed("response.completed", { sequence_number: 12, response: response("completed", [done]) }),
  ],
};

const messages = {
  start: [
    typed("message_start", {
      message: {
        id: "msg_1",
        type: "message",
        role: "assistant",
        model: MODEL,
        content: [],
        stop_reason: null,
        stop_sequence: null,
        usage: { input_tokens: 1, output_tokens: 1 },
      },
    }),
    typed("content_block_start", { index: 0, content_block: { type: "text", text: "" } }),
    typed("ping", {}),
  ],
  delta: (n) =>
    typed("content_block_delta", { index: 0, delta: { type: "text_delta", text: `word ${n} ` } }),
  end: [
    typed("content_block_stop", { index: 0 }),
    typed("message_delta", {
      delta: { stop_reason: "end_turn", stop_sequence: null },
      usage: { output_tokens: 6 },
    }),
    typed("message_stop", {}),
  ],
};

function candidate(text, rest) {
  const content = { role: "model", parts: [{ text }] };
  return { data: { candidates: [{ index: 0, content, ...rest }], modelVersion: MODEL } };
}

const generateContent = {
  // Its SDK drops fields that it does not know.
  stamp: (data, sent) => ({ ...data, responseId: String(sent) }),
  start: [],
  delta: (n) => candidate(`word ${n} `),
  end: [candidate("", { finishReason: "STOP" })],
};

export const FORMATS = {
  "v1/chat/completions": chat,
  "v1/responses": responses,
  "v1/messages": messages,
  "v1beta/models/mock:streamGenerateContent": generateContent,
};
