// What VS Code's Python Debugger does with an attach configuration; that extension is in no package
// registry. And a socket on which a test runs code with VS Code's API.

const fs = require("fs");
const net = require("net");
const readline = require("readline");
const vscode = require("vscode");

exports.activate = ({ subscriptions }) => {
  subscriptions.push(
    vscode.debug.registerDebugAdapterDescriptorFactory("debugpy", {
      createDebugAdapterDescriptor: ({ configuration: { connect } }) =>
        new vscode.DebugAdapterServer(connect.port, connect.host),
    }),
    // A child is a session of its own, which ends with its parent.
    vscode.debug.onDidReceiveDebugSessionCustomEvent(({ event, session, body }) => {
      if (event === "debugpyAttach") {
        const options = { parentSession: session, lifecycleManagedByParent: true };
        vscode.debug.startDebugging(session.workspaceFolder, body, options);
      }
    }),
    serve(process.env.VSCODE_TEST_SOCKET),
  );
};

// Answer each line, the text of a function of `vscode` in JSON, with a line: its result or its error.
function serve(path) {
  const server = net.createServer((socket) => {
    readline.createInterface({ input: socket }).on("line", async (line) => {
      let answer;
      try {
        const result = await eval(JSON.parse(line))(vscode);
        answer = { result: result ?? null };
      } catch (error) {
        answer = { error: String(error?.stack ?? error) };
      }
      socket.write(`${JSON.stringify(answer)}\n`);
    });
  });
  server.listen(path);
  return new vscode.Disposable(() => server.close());
}
