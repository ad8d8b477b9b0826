// Debug a container with the DebugClient of VS Code: testsupport.js PORT PATH LINE
//
// It attaches, expects two stops at the line, one after the other in one session, and leaves. It
// prints what it has seen as a line of JSON, or exits with 1, the reason and the traffic.
//
// It cannot open child sessions: DebugClient has no code for them.
"use strict";

const { DebugClient } = require("@vscode/debugadapter-testsupport");

const TIMEOUT = 60000; // of the whole, in milliseconds

const [port, path, line] = [Number(process.argv[2]), process.argv[3], Number(process.argv[4])];
const client = new DebugClient("", "", "debugpy");
const traffic = [];

// Write down all messages: all of them pass these two methods.
const { doSend, dispatch } = client;
client.doSend = function (command, args, done) {
  traffic.push(`-> ${command} ${JSON.stringify(args)}`);
  return doSend.call(this, command, args, done);
};
client.dispatch = function (body) {
  traffic.push(`<- ${body}`);
  return dispatch.call(this, body);
};

function fail(error) {
  console.error([...traffic, error.stack].join("\n"));
  process.exit(1);
}

// Return where a program has stopped, and its local variables. response: that of stackTrace
async function seen(response) {
  const [frame] = response.body.stackFrames;
  const { scopes } = (await client.scopesRequest({ frameId: frame.id })).body;
  const { variablesReference } = scopes.find((scope) => scope.name === "Locals");
  const { variables } = (await client.variablesRequest({ variablesReference })).body;
  const locals = variables.filter(({ name }) => !/ variables$/.test(name));
  return {
    path: frame.source.path,
    line: frame.line,
    locals: Object.fromEntries(locals.map(({ name, value }) => [name, value])),
  };
}

// Let the stopped program go on.
async function resume() {
  const { threads } = (await client.threadsRequest()).body;
  await client.continueRequest({ threadId: threads[0].id });
}

async function main() {
  await client.start(port);
  await client.initializeRequest();
  const initialized = client.waitForEvent("initialized");
  const attached = client.attachRequest({ connect: { host: "127.0.0.1", port } });
  await initialized;
  await client.setBreakpointsRequest({ source: { path }, breakpoints: [{ line }] });
  const [first] = await Promise.all([
    client.assertStoppedLocation("breakpoint", { path, line }),
    client.configurationDoneRequest(),
    attached,
  ]);
  const stops = [await seen(first)];
  const [second] = await Promise.all([
    client.assertStoppedLocation("breakpoint", { path, line }),
    resume(),
  ]);
  stops.push(await seen(second));
  await Promise.all([client.waitForEvent("terminated"), client.disconnectRequest()]);
  console.log(JSON.stringify({ stops }));
  process.exit(0);
}

process.on("uncaughtException", fail); // such as a port that nobody listens on
setTimeout(() => fail(new Error("it took too long")), TIMEOUT);
main().catch(fail);
