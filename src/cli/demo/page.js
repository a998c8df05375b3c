// Reads one stream through both ways at once, and shows when what of it arrives.

const SECONDS_SHOWN = 20;
const AT_ONCE = 10; // so many events in one piece are worth a label

const { hostname } = location;
const bufferingPort = document.documentElement.dataset.bufferingPort;
const start = document.querySelector("#start");
const stop = document.querySelector("#stop");
const clock = document.querySelector("#clock");

/** One of the two columns, and the run it shows. */
class Way {
  constructor(id, origin) {
    this.section = document.querySelector(`#${id}`);
    this.section.append(document.querySelector("#way").content.cloneNode(true));
    this.origin = origin;
    this.answer = this.section.querySelector(".answer");
    this.outcome = this.section.querySelector(".outcome");
    this.timeline = this.section.querySelector(".timeline");
    this.clear();
  }

  clear() {
    this.events = 0;
    this.heartbeats = 0;
    this.pieces = 0;
    this.first = null;
    this.delay = 0;
    this.answer.textContent = "";
    this.outcome.textContent = "";
    this.timeline.replaceChildren();
    this.timeline.ariaLabel = "When it arrived";
    for (let second = 0; second <= SECONDS_SHOWN; second += SECONDS_SHOWN / 4) {
      this.mark("second", second).textContent = `${second} s`;
    }
    this.span(SECONDS_SHOWN);
    this.tell();
  }

  /** Asks for the stream and shows it to its end, or until `signal` says to stop. */
  async run(signal) {
    this.clear();
    this.key = crypto.randomUUID();
    this.began = performance.now();
    this.now = this.mark("now", 0);
    this.section.dataset.state = "open";
    this.outcome.textContent = "Waiting for the first event.";
    signal.addEventListener("abort", () => (this.stopped = performance.now()));
    try {
      const response = await fetch(`${this.origin}/stream?${this.key}`, {
        headers: { Accept: "text/event-stream" },
        cache: "no-store",
        signal,
      });
      if (!response.ok) throw new Error(`status ${response.status}`);
      await pieces(response.body, (events, comments) => this.arrive(events, comments));
      this.outcome.innerHTML = this.ending();
    } catch (error) {
      if (signal.aborted) this.outcome.innerHTML = await this.cancellation();
      else this.outcome.textContent = `The stream broke off: ${error.message}`;
    }
    this.section.dataset.state = "over";
    this.timeline.ariaLabel = this.outcome.textContent;
  }

  /** What came in one piece: the data of events, and a number of comments. */
  arrive(events, comments) {
    const age = performance.now() - this.began;
    if (events.length > 0) {
      if (this.pieces === 0) {
        this.outcome.textContent = "Arriving.";
        this.first = age;
      }
      this.pieces += 1;
      this.events += events.length;
      const tokens = events.filter((data) => data !== "[DONE]").map((data) => JSON.parse(data));
      this.delay = Math.max(this.delay, ...tokens.map((token) => age - token.sent_ms));
      this.answer.append(tokens.map((token) => token.token).join(""));
      this.mark("arrival", age / 1000, events.length);
    }
    if (comments > 0) this.mark("heartbeat", age / 1000);
    this.heartbeats += comments;
    this.tell();
  }

  /** How the whole stream came. */
  ending() {
    const delay = duration(this.delay);
    if (this.pieces < this.events / 10) {
      return `<b>Nothing for ${duration(this.first)}, then everything.</b> The first word was ${delay} old by then.`;
    }
    const heartbeats = this.heartbeats > 0 ? " Heartbeats filled the silence." : "";
    return `<b>Word by word, each within ${delay}.</b>${heartbeats}`;
  }

  /** What the backend knows of a stream that was stopped. */
  async cancellation() {
    for (let now = this.stopped; now < this.stopped + 3000; now = performance.now()) {
      const response = await fetch(`/record?${this.key}`).catch(() => null);
      if (!response?.ok) return "Stopped. The backend does not answer any more.";
      const record = await response.json();
      if (record?.state === "cancelled") {
        // It says for how long it has known: no two clocks need agree.
        const after = duration(performance.now() - this.stopped - record.since_ms);
        const heard = { 0: "none", [record.sent]: "all" }[this.events] ?? this.events;
        return (
          `<b>The backend saw the cancellation after ${after}.</b> ` +
          `It had sent ${record.sent} events; ${heard} of them had arrived here.`
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return "<b>The backend has not seen the cancellation after 3 s.</b>";
  }

  tell() {
    this.show("first", this.first === null ? "–" : duration(this.first));
    this.show("events", this.events);
    this.show("delay", this.first === null ? "–" : duration(this.delay));
    this.show("heartbeats", this.heartbeats);
  }

  show(what, value) {
    this.section.querySelector(`[data-of=${what}]`).textContent = value;
  }

  mark(kind, second, events = 0) {
    const mark = document.createElement("i");
    mark.className = kind;
    mark.style.setProperty("--at", second);
    mark.style.setProperty("--events", events);
    if (events >= AT_ONCE) mark.dataset.events = events;
    mark.classList.toggle("is-early", second < SECONDS_SHOWN / 2);
    this.timeline.append(mark);
    return mark;
  }

  span(seconds) {
    this.timeline.style.setProperty("--span", seconds);
  }

  /** Time passes. */
  tick() {
    if (this.section.dataset.state !== "open") return;
    const second = (performance.now() - this.began) / 1000;
    this.now.style.setProperty("--at", second);
    if (second > SECONDS_SHOWN) this.span(second);
  }
}

/**
 * Reads an event stream and tells of each piece that arrives: the data of the events that it completes, and how many
 * comments. Knows what this backend and the sidecar write: lines that end with LF, and `data` in one line.
 */
async function pieces(body, tell) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = null;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    const events = [];
    let comments = 0;
    for (const line of lines) {
      if (line.startsWith(":")) comments += 1;
      else if (line.startsWith("data: ")) data = line.slice("data: ".length);
      else if (line === "" && data !== null) {
        events.push(data);
        data = null;
      }
    }
    if (events.length + comments > 0) tell(events, comments);
  }
}

function duration(ms) {
  return ms < 1000 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`;
}

const ways = [new Way("buffering", `http://${hostname}:${bufferingPort}`), new Way("sidecar", "")];

start.addEventListener("click", async () => {
  const controller = new AbortController();
  stop.onclick = () => controller.abort();
  start.disabled = true;
  stop.disabled = false;
  stop.focus();
  const began = performance.now();
  const ticking = setInterval(() => {
    clock.textContent = `${((performance.now() - began) / 1000).toFixed(1)} s`;
    ways.forEach((way) => way.tick());
  }, 50);
  await Promise.all(ways.map((way) => way.run(controller.signal)));
  clearInterval(ticking);
  stop.disabled = true;
  start.disabled = false;
  start.focus();
});
