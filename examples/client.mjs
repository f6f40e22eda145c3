// Launch tasks over the socket, subscribe, survive a reconnect, acknowledge: Node 18 or newer, no package.
// Usage: node client.mjs [SOCKET] ['[["argv", "of", "a", "task"], …]']
import { randomUUID } from "node:crypto";
import { connect } from "node:net";

const [path = ".backburner/bus.sock", commands = '[["echo", "hello"], ["sleep", "1"], ["false"]]'] = process.argv.slice(2);
const session = `node-${randomUUID()}`;
const tasks = JSON.parse(commands).map((command) => ({ id: `bg-${randomUUID()}`, command, parentSessionId: session }));
let seq = 0; // the last event received: a new subscription continues after it
let done = false;

function open() {
  const bus = connect(path);
  const call = (id, method, params) => bus.write(JSON.stringify({ jsonrpc: "2.0", id, method, params }) + "\n");
  let received = "";
  bus.setEncoding("utf8");
  bus.on("error", () => {}); // "close" follows
  bus.on("close", () => done || setTimeout(open, 100)); // the flusher died, and another one is being started
  bus.on("connect", () => {
    call("launch", "launchMany", { tasks }); // a repetition launches nothing, because the IDs are the same
    call("subscribe", "subscribe", { parentSessionId: session, after: seq });
  });
  bus.on("data", (text) => {
    const lines = (received + text).split("\n");
    received = lines.pop();
    lines.map((line) => JSON.parse(line)).forEach(({ id, method, params, error }) => {
      if (error) throw new Error(`${id}: ${error.message}`);
      if (method) handle(method, params, call);
      if (id === "ack" && done) bus.destroy();
    });
  });
}

function handle(type, event, call) {
  seq = event.seq;
  console.log(seq, type, event.taskId ?? "", event.status ?? event.message ?? "");
  done ||= event.allComplete === true;
  if (type === "background_tasks_batch") call("ack", "ack", { parentSessionId: session, seq });
}

open();
