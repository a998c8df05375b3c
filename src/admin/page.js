// The page: what a status says, and how it is shown.

// How many events a second came lately, from what each status says of a request.
const LATELY = 10_000;
const counted = new Map();
function measure(requests) {
  const open = new Set(requests.map(({ number }) => number));
  for (const known of counted.keys()) if (!open.has(known)) counted.delete(known);
  for (const request of requests) {
    const counts = counted.get(request.number) ?? [];
    counts.push([request.age_ms, request.events]);
    while (counts.length > 2 && request.age_ms - counts[1][0] >= LATELY) counts.shift();
    counted.set(request.number, counts);
    const [[age, events]] = counts;
    request.rate = request.age_ms > age ? ((request.events - events) / (request.age_ms - age)) * 1000 : null;
  }
}

const phases = {
  connecting: "connecting",
  waiting_for_head: "waiting for the head",
  body: "body",
  streaming: "streaming",
};

function phaseOf({ phase, stalled, ending }) {
  if (ending) return "ending at the next event";
  return stalled ? "client takes nothing" : (phases[phase] ?? phase);
}

// Everything else that is known of a request is shown when its line is opened.
function requestLine(cell, request) {
  if (!cell.firstChild) {
    const more = make("small", { hidden: true, id: `more-${request.number}` });
    const line = make("button", { type: "button", className: "request" });
    line.setAttribute("aria-controls", more.id);
    line.setAttribute("aria-expanded", "false");
    line.addEventListener("click", () => {
      more.hidden = !more.hidden;
      line.setAttribute("aria-expanded", String(!more.hidden));
    });
    cell.append(line, more);
  }
  say(cell.firstChild, `${request.method} ${request.path}`, "request");
  say(cell.lastChild, detailsOf(request));
}

const detailsOf = ({ route, upstream, protocol, tls, request_id, trace_id, heartbeats_skipped: skipped }) =>
  [
    route && `${route} → ${upstream}`,
    tls ? `${protocol}, TLS` : protocol,
    `request ID ${request_id}`,
    trace_id && `trace ${trace_id}`,
    skipped && `${number(skipped)} heartbeats skipped`,
  ]
    .filter(Boolean)
    .join(" · ");

const clientOf = ({ client, peer }) => {
  const isPeer = !client || (peer ?? "").replace(/^\[(::ffff:)?|\]?:\d+$/g, "") === client;
  return isPeer ? (peer ?? "Unix socket") : `${client}, through ${peer ?? "a Unix socket"}`;
};

// By what each column sorts; the largest number first, but the youngest request.
const sortable = {
  Request: { of: ({ path }) => path },
  Client: { of: clientOf },
  Phase: { of: phaseOf },
  Age: { of: ({ age_ms }) => age_ms },
  Silence: { of: ({ silence_ms }) => silence_ms, down: true },
  "First event": { of: ({ time_to_first_event_ms: first }) => first, down: true },
  Events: { of: ({ events }) => events, down: true },
  "Events/s": { of: ({ rate }) => rate, down: true },
  Bytes: { of: ({ bytes }) => bytes, down: true },
  Heartbeats: { of: ({ heartbeats }) => heartbeats, down: true },
};
let sort = { by: "Age", down: false };

function sorted(requests) {
  const { of } = sortable[sort.by];
  const compare = (a, b) => {
    const [x, y] = [of(a), of(b)];
    if (x === y) return b.number - a.number;
    // What there is not comes last, whichever way round.
    if (x === null || y === null) return x === null ? 1 : -1;
    return (x < y) === sort.down ? 1 : -1;
  };
  return requests.toSorted(compare);
}

function sortBy(by, down) {
  sort = { by, down };
  byId("sort").value = by;
  for (const th of requests.head.children) {
    if (th.textContent === by) th.setAttribute("aria-sort", down ? "descending" : "ascending");
    else th.removeAttribute("aria-sort");
  }
  list();
}

const ofStream = (show) => (cell, request) =>
  say(cell, request.silence_ms === null ? "–" : show(request));

const columns = {
  Request: requestLine,
  Client: (cell, request) => say(cell, clientOf(request)),
  Phase: (cell, request) => say(cell, phaseOf(request), request.stalled && !request.ending ? "bad" : ""),
  Age: (cell, { age_ms }) => say(cell, duration(age_ms)),
  Silence: ofStream(({ silence_ms }) => duration(silence_ms)),
  "First event": ofStream(({ time_to_first_event_ms: first }) => (first === null ? "–" : shortTime(first))),
  Events: ofStream(({ events }) => number(events)),
  "Events/s": ofStream((request) => (request.rate === null ? "–" : rate(request.rate))),
  Bytes: ofStream((request) => bytes(request.bytes)),
  Heartbeats: ofStream(({ heartbeats }) => number(heartbeats)),
};
let requests;
let last;

function tableOfRequests(action) {
  const table = new Table("requests", { ...columns, ...action }, ({ number }) => number, "None");
  for (const th of table.head.children) {
    const name = th.textContent;
    const { down = false } = sortable[name] ?? {};
    if (!sortable[name]) continue;
    const button = make("button", { type: "button", textContent: name });
    button.addEventListener("click", () => sortBy(name, sort.by === name ? !sort.down : down));
    th.replaceChildren(button);
    byId("sort").append(make("option", {}, name));
  }
  byId("sort").addEventListener("change", ({ target }) =>
    sortBy(target.value, sortable[target.value].down ?? false),
  );
  byId("reverse").addEventListener("click", () => sortBy(sort.by, !sort.down));
  byId("filter").addEventListener("input", list);
  return table;
}

// Every word has to be somewhere in what the page knows of a request.
function matches(request, words) {
  const text = `${request.method} ${request.path} ${clientOf(request)} ${phaseOf(request)} ${detailsOf(request)}`;
  return words.every((word) => text.toLowerCase().includes(word));
}

function list() {
  const words = byId("filter").value.toLowerCase().split(" ").filter(Boolean);
  const found = last.requests.filter((request) => matches(request, words));
  say(byId("requests-note"), note(last, words.length ? found.length : null), "muted");
  requests.show(sorted(found));
}

const upstreams = new Table(
  "upstreams",
  {
    Upstream: (cell, { url }) => say(cell, url),
    Open: (cell, { active }) => say(cell, number(active)),
    Connects: (cell, { connects }) => say(cell, number(connects)),
    Failures: (cell, { failures }) => say(cell, number(failures)),
    "Last failure": (cell, { last_failure: last }) =>
      last ? two(cell, last.title, `${last.reason}, ${duration(last.ago_ms)} ago`) : say(cell, "none"),
  },
  ({ url }) => url,
  "None",
);

const reasons = {
  Reason: (cell, { title, reason }) => two(cell, title, reason),
  Side: (cell, { side }) => say(cell, side),
  Times: (cell, { times }) => say(cell, number(times)),
};
const ends = new Table("ends", reasons, ({ reason }) => reason, "None yet");
const failures = new Table("failures", reasons, ({ reason }) => reason, "Nothing yet");

// What was answered with an error, and what upstreams broke off: one line a reason.
function failed({ refused, stream_ends }) {
  const byReason = new Map();
  for (const count of [...refused, ...stream_ends.filter(({ side }) => side === "upstream")]) {
    const times = (byReason.get(count.reason)?.times ?? 0) + count.times;
    byReason.set(count.reason, { ...count, times });
  }
  return [...byReason.values()].toSorted((a, b) => b.times - a.times);
}

// Those that are not their clients' fault.
const sum = (numbers) => numbers.reduce((sum, number) => sum + number, 0);
const failedRequests = ({ upstreams, refused }) =>
  sum(upstreams.map(({ failures }) => failures)) +
  sum(refused.filter(({ side }) => side === "proxy").map(({ times }) => times));

const certificates = new Table(
  "certificates",
  {
    File: (cell, { file }) => say(cell, file),
    "Shown by": (cell, { owner }) => say(cell, owner === "listener" ? "a listener" : "the sidecar to an upstream"),
    Expires: (cell, { not_after: at, standing }) =>
      say(cell, new Date(at * 1000).toISOString().slice(0, 10), standing === "good" ? "" : "bad"),
    State: (cell, { standing }) => say(cell, standing.replaceAll("_", " "), standing === "good" ? "" : "bad"),
  },
  ({ owner, file }) => `${owner} ${file}`,
  "None",
);

const fileKeys = new Table(
  "file-keys",
  {
    Key: (cell, { key }) => say(cell, key ?? "the file"),
    Line: (cell, { line }) => say(cell, line ? number(line) : "–"),
    Why: (cell, { message, help }) => two(cell, message, help ?? ""),
  },
  (problem) => JSON.stringify(problem),
  "None",
);

// What the file says and is not in force.
function file({ config_rejected: rejected, config_waiting: waiting }) {
  byId("file").hidden = rejected.length + waiting.length === 0;
  say(byId("file-note"), rejected.length ? "Invalid configuration: the previous one stays active." : "", "bad");
  fileKeys.show([...rejected, ...waiting]);
}

function button(cell, name, press) {
  if (!cell.firstChild) {
    const button = make("button", { type: "button", textContent: "End" });
    button.setAttribute("aria-label", `End ${name}`);
    button.addEventListener("click", press);
    cell.append(button);
  }
  return cell.firstChild;
}

function endButton(cell, { number, method, path, silence_ms, ending }) {
  if (silence_ms === null) return;
  const name = `${method} ${path}`;
  const press = () => end(`streams/${number}`, name, `End ${name} at its next event?`);
  button(cell, name, press).disabled = ending;
}

function endKept(cell, { number, method, path }) {
  const name = `${method} ${path}`;
  button(cell, name, () => end(`kept/${number}`, name, `End ${name}? Its client could still come back.`));
}

async function end(stream, name, question) {
  if (!confirm(question)) return;
  const request = { method: "POST", headers: { "X-Sse-Sidecar": "end" } };
  try {
    const answer = await fetch(`status/${stream}/end`, request);
    say(byId("notice"), `${name}: ${(await answer.text()).trim()}`);
  } catch {
    say(byId("notice"), `${name}: the sidecar does not answer`);
  }
}

const keptColumns = {
  Stream: (cell, { method, path, route, upstream }) => two(cell, `${method} ${path}`, `${route} → ${upstream}`),
  Age: (cell, { age_ms }) => say(cell, duration(age_ms)),
  "Waits for": (cell, { grace_left_ms }) => say(cell, duration(grace_left_ms)),
  Events: (cell, { events }) => say(cell, number(events)),
  "Bytes kept": (cell, { bytes_kept }) => say(cell, bytes(bytes_kept)),
};
let kept;

const totals = {
  "streams now": ({ totals }) => number(totals.streams_active),
  connections: ({ connections, max_connections }) => `${number(connections)} of ${number(max_connections)}`,
  "failed requests": (status) => number(failedRequests(status)),
  "suspected buffering": ({ totals }) => number(totals.suspected_upstream_buffering),
  "streams without heartbeats": ({ totals }) => number(totals.streams_opaque),
  "streams so far": ({ totals }) => number(totals.streams),
  events: ({ totals }) => number(totals.events),
  "bytes of streams": ({ totals }) => bytes(totals.bytes),
  heartbeats: ({ totals }) => number(totals.heartbeats),
  "heartbeats skipped": ({ totals }) => number(totals.heartbeats_skipped),
};
// Anything but 0 is worth a look.
const alarming = ["failed requests", "suspected buffering"];
for (const name of Object.keys(totals)) {
  byId("totals").append(make("div", {}, make("dt", { textContent: name }), make("dd")));
}

function note({ requests, requests_open, workers }, found) {
  const silent = workers.all - workers.answered;
  const notes = [];
  if (found !== null) notes.push(`${number(found)} of ${number(requests.length)} match.`);
  if (requests_open > requests.length) notes.push(`${number(requests_open)} are open, the youngest are shown.`);
  if (silent) notes.push(`${silent} of ${workers.all} workers did not answer in time: their requests are missing.`);
  return notes.join(" ");
}

function show(status) {
  last = status;
  say(byId("state"), status.state, status.state === "running" ? "good" : "bad");
  say(byId("process"), `version ${status.version}, up ${duration(status.uptime_ms)}`, "muted");
  Object.entries(totals).forEach(([name, of], index) => {
    const text = of(status);
    const className = alarming.includes(name) && text !== "0" ? "bad" : "";
    say(byId("totals").children[index].lastChild, text, className);
  });
  file(status);
  upstreams.show(status.upstreams);
  failures.show(failed(status));
  measure(status.requests);
  if (requests) list();
  else {
    requests = tableOfRequests(status.allow_ending ? { Action: endButton } : {});
    sortBy(sort.by, sort.down);
    const action = status.allow_ending ? { Action: endKept } : {};
    kept = new Table("detached", { ...keptColumns, ...action }, ({ number }) => number, "None");
  }
  byId("kept").hidden = status.detached.length === 0;
  kept.show(status.detached);
  ends.show(status.stream_ends);
  byId("tls").hidden = status.certificates.length === 0;
  certificates.show(status.certificates);
  say(byId("config"), status.config);
  document.title = `${number(status.totals.streams_active)} streams · sse-sidecar`;
}

const LOST = "The sidecar does not answer. What you see is old; trying again.";
let source;

// Nobody is asked while nobody looks.
function follow() {
  source?.close();
  if (document.hidden) return;
  source = new EventSource("status/events");
  source.onopen = () => {
    if (byId("notice").textContent === LOST) say(byId("notice"), "");
  };
  source.onerror = () => {
    say(byId("notice"), LOST);
    // A browser gives up on an answer that is no event stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, 2000);
  };
  source.onmessage = ({ data }) => show(JSON.parse(data));
}
document.addEventListener("visibilitychange", follow);
follow();
