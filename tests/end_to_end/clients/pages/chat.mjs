// A chat as the documentation of the AI SDK has it, with `resume: true`; each time it is drawn
// it reports its state, and what each side has said.
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { createElement, useEffect } from "react";
import { createRoot } from "react-dom/client";

const transport = new DefaultChatTransport({ api: "/api/chat" });

function said({ role, parts }) {
  const texts = parts.filter(({ type }) => type === "text").map(({ text }) => text);
  return `${role}: ${texts.join("")}`;
}

function Chat({ id, messages: before }) {
  const { messages, sendMessage, status, error } = useChat({
    id,
    messages: before,
    transport,
    resume: true,
  });
  const all = messages.map(said).join("; ");
  window.say = (text) => sendMessage({ text });
  useEffect(() => {
    window.report(status, error ? String(error) : all);
  }, [status, all, error]);
  return createElement("main", { "data-status": status }, all);
}

export function start(properties) {
  const place = document.body.appendChild(document.createElement("div"));
  createRoot(place).render(createElement(Chat, properties));
}
