// Reads one stream through both ways at once, and shows when what of it arrives, and what a stop does to each backend.

const SECONDS_SHOWN = 12;
const AT_ONCE = 10; // so many tokens in one piece are worth a label
const ASK_AGAIN = 200; // ms, what became of a stream that was stopped

const run = document.querySelector("#run");
const clock = document.querySelector("#clock");
const calm = matchMedia("(prefers-reduced-motion: reduce)");

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
    this.tokens = 0;
    this.heartbeats = 0;
    this.pieces = 0;
    this.first = null;
    this.delay = 0;
    this.wasted = null;
    this.answer.textContent = "";
    this.timeline.replaceChildren();
    this.timeline.ariaLabel = "When it arrived";
    for (let second = 0; second <= SECONDS_SHOWN; second += SECONDS_SHOWN / 4) {
      this.mark("second", second).textContent = `${second} s`;
    }
    this.span(SECONDS_SHOWN);
    this.tell();
    this.say("");
  }

  /** Asks for the stream and shows it to its end, or until `signal` says to stop. */
  async run(signal) {
    this.clear();
    this.key = crypto.randomUUID();
    this.began = performance.now();
    this.now = this.mark("now", 0);
    this.section.dataset.state = "open";
    this.say("", "Waiting for the first token.");
    signal.addEventListener("abort", () => {
      this.stopped = performance.now();
      this.mark("stop", (this.stopped - this.began) / 1000);
    });
    try {
      const response = await fetch(`${this.origin}/stream?${this.key}`, {
        headers: { Accept: "text/event-stream" },
        cache: "no-store",
        signal,
      });
      if (!response.ok) throw new Error(`status ${response.status}`);
      await pieces(response.body, (events, comments) => this.arrive(events, comments));
      this.ending();
    } catch (error) {
      if (signal.aborted) this.aftermath(this.key);
      else this.say("The stream broke off.", `${error.message}; is ${this.origin || location.origin} reachable from here?`);
    }
    this.now.remove();
    this.section.dataset.state = "over";
    this.timeline.ariaLabel = this.outcome.textContent;
  }

  /** What came in one piece: the data of events, and a number of comments. */
  arrive(events, comments) {
    const age = performance.now() - this.began;
    const tokens = events.filter((data) => data !== "[DONE]").map((data) => JSON.parse(data));
    if (tokens.length > 0) {
      if (this.pieces === 0) {
        this.say("", "Arriving.");
        this.first = age;
      }
      this.pieces += 1;
      this.tokens += tokens.length;
      this.delay = Math.max(this.delay, ...tokens.map((token) => age - token.sent_ms));
      this.answer.append(tokens.map((token) => token.token).join(""));
      this.mark("arrival", age / 1000, tokens.length);
    }
    if (comments > 0) this.mark("heartbeat", age / 1000);
    this.heartbeats += comments;
    this.tell();
  }

  /** How the whole stream came. */
  ending() {
    const delay = duration(this.delay);
    if (this.pieces < this.tokens / 10) {
      this.say(`Nothing for ${duration(this.first)}, then everything.`, `The first token was ${delay} old by then.`);
    } else {
      const heartbeats = this.heartbeats > 0 ? "Heartbeats filled the silence." : "";
      this.say(`Token by token, each within ${delay}.`, heartbeats);
    }
  }

  /** What becomes of the backend's work on a stream that was stopped, until that is over or there is another run. */
  async aftermath(key) {
    const { tokens: arrived, stopped } = this;
    let before = null;
    for (;;) {
      const response = await fetch(`/record?${key}`).catch(() => null);
      const record = response?.ok ? await response.json() : null;
      if (this.key !== key) return;
      if (record === null) return this.say("Stopped.", "The backend does not answer any more.");
      const isOver = record.state !== "streaming";
      if (record.state === "cancelled") {
        // It says for how long it has known: no two clocks need agree.
        const after = duration(performance.now() - stopped - record.since_ms);
        this.wasted = record.sent - arrived;
        this.say(`The backend stopped ${after} after you.`, `Tokens written: ${record.sent}; arrived here: ${arrived}.`);
      } else {
        before ??= record.sent;
        this.wasted = record.sent - before;
        if (isOver) this.say("The backend went on to the end.", "Nobody told it that you had left.");
        else this.say("The backend goes on.", "Nobody has told it that you have left.");
      }
      this.tell();
      if (isOver) break;
      await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN));
    }
    this.timeline.ariaLabel = this.outcome.textContent;
  }

  /** One sentence that matters and one that explains it. Said again, it is not heard again. */
  say(first, then = "") {
    const sentence = `${first} ${then}`.trim();
    if (this.outcome.textContent.trim() === sentence) return;
    const strong = document.createElement("b");
    strong.textContent = first;
    this.outcome.replaceChildren(strong, ` ${then}`);
  }

  tell() {
    this.show("first", this.first === null ? "–" : duration(this.first));
    this.show("tokens", this.tokens);
    this.show("delay", this.first === null ? "–" : duration(this.delay));
    this.show("heartbeats", this.heartbeats);
    this.show("wasted", this.wasted ?? "–");
    this.section.dataset.wasted = this.wasted > 0 ? "some" : "none";
  }

  show(what, value) {
    this.section.querySelector(`[data-of=${what}]`).textContent = value;
  }

  mark(kind, second, tokens = 0) {
    const mark = document.createElement("i");
    mark.className = kind;
    mark.style.setProperty("--at", second);
    mark.style.setProperty("--tokens", tokens);
    if (tokens >= AT_ONCE) mark.dataset.tokens = tokens;
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

const ways = [new Way("sidecar", ""), new Way("buffering", `http://${document.documentElement.dataset.buffering}`)];

/** While both ways are open, this stops them. */
let controller = null;

async function start() {
  controller = new AbortController();
  run.textContent = "Stop";
  const began = performance.now();
  // Who wants no motion sees the time pass in whole seconds.
  const ticking = setInterval(() => {
    clock.textContent = `${((performance.now() - began) / 1000).toFixed(calm.matches ? 0 : 1)} s`;
    ways.forEach((way) => way.tick());
  }, calm.matches ? 1000 : 50);
  await Promise.all(ways.map((way) => way.run(controller.signal)));
  clearInterval(ticking);
  controller = null;
  run.textContent = "Start again";
}

run.addEventListener("click", () => (controller ? controller.abort() : start()));

// By itself, as soon as somebody looks; but not for those who want nothing to move unasked.
if (!calm.matches) {
  const look = () => {
    if (document.hidden) return;
    document.removeEventListener("visibilitychange", look);
    if (!controller) start();
  };
  document.addEventListener("visibilitychange", look);
  look();
}

document.querySelector("#copy").addEventListener("click", async () => {
  const command = document.querySelector("#command");
  const copied = document.querySelector("#copied");
  try {
    await navigator.clipboard.writeText(command.textContent);
    copied.textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(command);
    copied.textContent = "Selected: copy it with Ctrl+C.";
  }
});
