// Debug a container as an AI agent does, through the MCP server mcp-debugger: mcp.js PORT PATH LINE
//
// It attaches, expects two stops at the line, one after the other in one session, and leaves. It
// prints what it has seen as a line of JSON, or exits with 1, the reason and the traffic.
//
// It cannot open child sessions: the server has none for Python.
"use strict";

const { spawn } = require("child_process");
const path = require("path");
const readline = require("readline");

const TIMEOUT = 60000; // of the whole, in milliseconds
const LOOK_INTERVAL = 100; // between two looks at the state of the session, in milliseconds

const [port, file, line] = [Number(process.argv[2]), process.argv[3], Number(process.argv[4])];
const traffic = [];

const home = path.dirname(require.resolve("@debugmcp/mcp-debugger/package.json"));
const server = spawn(process.execPath, [path.join(home, "dist/cli.mjs"), "stdio"], {
  stdio: ["pipe", "pipe", "ignore"],
});
const waiting = new Map();
readline.createInterface({ input: server.stdout }).on("line", (text) => {
  traffic.push(`<- ${text}`);
  const message = JSON.parse(text);
  waiting.get(message.id)?.(message);
});
server.on("exit", () => fail(new Error("the server has ended")));

function fail(error) {
  console.error([...traffic, error.stack].join("\n"));
  leave(1);
}

function leave(code) {
  server.kill();
  process.exit(code);
}

// Send the server a message: each is a line of JSON.
function send(message) {
  traffic.push(`-> ${JSON.stringify(message)}`);
  server.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
}

let last = 0; // the id of the last request

// Ask the server and return its answer.
async function request(method, params) {
  const id = ++last;
  const answer = new Promise((resolve) => waiting.set(id, resolve));
  send({ id, method, params });
  const { result, error } = await answer;
  if (error) throw new Error(`${method}: ${error.message}`);
  return result;
}

// Call a tool of the server and return its answer.
async function call(name, args) {
  const { content } = await request("tools/call", { name, arguments: args });
  const answer = JSON.parse(content[0].text);
  if (!answer.success) throw new Error(`${name}: ${content[0].text}`);
  return answer;
}

// Wait until the session has stopped, and return where it is.
async function stopped(sessionId) {
  for (;;) {
    const { sessions } = await call("list_debug_sessions", {});
    if (sessions.find(({ id }) => id === sessionId).state === "paused") break;
    await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL));
  }
  const { stackFrames, stopReason } = await call("get_stack_trace", { sessionId });
  const { variables } = await call("get_local_variables", { sessionId });
  return {
    reason: stopReason,
    path: stackFrames[0].file,
    line: stackFrames[0].line,
    locals: Object.fromEntries(variables.map(({ name, value }) => [name, value])),
  };
}

async function main() {
  await request("initialize", {
    protocolVersion: "2024-11-05",
    capabilities: {},
    clientInfo: { name: "test", version: "1" },
  });
  send({ method: "notifications/initialized" });
  const { sessionId } = await call("create_debug_session", { language: "python" });
  await call("set_breakpoint", { sessionId, file, line });
  // Without stopOnEntry, it would pause the program wherever that is by then.
  await call("attach_to_process", { sessionId, host: "127.0.0.1", port, stopOnEntry: false });
  const stops = [await stopped(sessionId)];
  await call("continue_execution", { sessionId });
  stops.push(await stopped(sessionId));
  await call("detach_from_process", { sessionId });
  console.log(JSON.stringify({ stops }));
  leave(0);
}

setTimeout(() => fail(new Error("it took too long")), TIMEOUT);
main().catch(fail);
