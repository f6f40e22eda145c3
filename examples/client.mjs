// Launch, subscribe, survive a reconnect, acknowledge: Node 18 or newer, no package.
// Usage: node client.mjs [SOCKET] ['[["argv", "of", "a", "task"], …]']
import { randomUUID } from "node:crypto";
import { connect } from "node:net";

const [path = ".backburner/bus.sock", commands = '[["echo", "hello"], ["sleep", "1"], ["false"]]'] = process.argv.slice(2);
const parent = `node-${randomUUID()}`;
const tasks = JSON.parse(commands).map((command) => ({ id: `bg-${randomUUID()}`, command, parentSessionId: parent }));
let seq = 0; // the last event seen: with it a subscription goes on where the last one broke off
let done = false;

function speak() {
  const bus = connect(path);
  const ask = (id, method, params) => bus.write(JSON.stringify({ jsonrpc: "2.0", id, method, params }) + "\n");
  let heard = "";
  bus.setEncoding("utf8");
  bus.on("error", () => {}); // "close" comes next
  bus.on("close", () => done || setTimeout(speak, 100)); // the flusher died: another one is on its way
  bus.on("connect", () => {
    ask("launch", "launchMany", { tasks }); // a second time it launches nothing: the ids are ours
    ask("subscribe", "subscribe", { parentSessionId: parent, after: seq });
  });
  bus.on("data", (text) => {
    const lines = (heard + text).split("\n");
    heard = lines.pop();
    lines.map((line) => JSON.parse(line)).forEach(({ id, method, params, error }) => {
      if (error) throw new Error(`${id}: ${error.message}`);
      if (method) hear(method, params, ask);
      if (id === "ack" && done) bus.destroy();
    });
  });
}

function hear(type, event, ask) {
  seq = event.seq;
  console.log(seq, type, event.taskId ?? "", event.status ?? event.message ?? "");
  done ||= event.allComplete === true;
  if (type === "background_tasks_batch") ask("ack", "ack", { parentSessionId: parent, seq });
}

speak();
