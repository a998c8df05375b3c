"""The Anthropic SDK for Python."""

from anthropic import Anthropic

import report

url = report.options["url"]
client = Anthropic(base_url=url, api_key="none", max_retries=0)
question = [{"role": "user", "content": "Say six words."}]

report.asked()
stream = client.messages.create(
    model="mock", max_tokens=100, stream=True, messages=question
)
for event in stream:
    if report.event(event.model_dump_json(), type=event.type):
        report.leave(stream.close)
report.ended()
