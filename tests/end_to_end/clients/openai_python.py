"""The OpenAI SDK for Python; `api` is "chat" or "responses". It tries again so often as `retries`
says, if no answer begins within `timeout` seconds; `headers` go with each try.
"""

from openai import OpenAI

import report

url, api = report.options["url"], report.options["api"]
client = OpenAI(
    base_url=f"{url}/v1",
    api_key="none",
    max_retries=report.options.get("retries", 0),
    timeout=report.options.get("timeout", 600),
    default_headers=report.options.get("headers"),
)


def chat():
    question = [{"role": "user", "content": "Say six words."}]
    return client.chat.completions.create(model="mock", stream=True, messages=question)


def responses():
    return client.responses.create(model="mock", stream=True, input="Say six words.")


ask = {"chat": chat, "responses": responses}[api]
report.asked()
stream = ask()
for event in stream:
    if report.event(event.model_dump_json(), type=getattr(event, "type", "message")):
        report.leave(stream.close)
report.ended()
