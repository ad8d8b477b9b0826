-- What a user of nvim-dap does, by its commands: nvim -l nvim.lua PLUGIN CONFIGURATION FILE LINE
local plugin, name, file, line = arg[1], arg[2], arg[3], tonumber(arg[4])
vim.opt.runtimepath:append(plugin)
vim.opt.swapfile = false
local dap = require("dap")

-- As docker/debug/README.md has it
require("dap").adapters.debugpy = function(callback, config)
  callback({ type = "server", host = config.connect.host, port = config.connect.port })
end

vim.cmd.edit(file)
vim.api.nvim_win_set_cursor(0, { line, 0 })
dap.set_breakpoint()

local ended = false
dap.listeners.after.event_stopped["test"] = function(session, body)
  session:request("stackTrace", { threadId = body.threadId }, function(_, answer)
    local frame = answer.stackFrames[1]
    print(vim.json.encode({ frame.source.path, frame.line }) .. "\n")
    session:request("continue", { threadId = body.threadId })
  end)
end
dap.listeners.after.event_terminated["test"] = function() ended = true end

for _, configuration in ipairs(dap.providers.configs["dap.launch.json"]()) do
  if configuration.name == name then dap.run(configuration) end
end
vim.wait(60000, function() return ended end)
