// What a client says on its standard output; see harness/clients.py.

export const options = JSON.parse(process.argv[2]);
let heard = 0;

function now() {
  return performance.timeOrigin + performance.now();
}

function say(line) {
  console.log(JSON.stringify(line));
}

export function asked(at = now()) {
  say({ asked: at });
}

// Returns true when it is time to leave.
export function event({ type = "message", id = "", data, at = now() }) {
  say({ at, type, id, data });
  return ++heard === options.leave_after;
}

export function ended(at = now()) {
  say({ ended: at });
}

export function failed(error) {
  say({ failed: String(error?.stack ?? error) });
}

// Leaves by calling `close`, and lives on until the driver has seen enough.
export function leave(close) {
  const at = now();
  close();
  return left(at);
}

export async function left(at) {
  say({ left: at });
  for await (const _ of process.stdin);
}

process.on("uncaughtException", (error) => {
  failed(error);
  process.exit(1);
});
