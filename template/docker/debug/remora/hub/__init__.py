"""The hub, the one process of the container that owns the debug port.

server       opens the sockets
daemon       makes the hub a process of its own
hub          knows all clients and programs
calls        asks programs for their engines
session      handles a client's requests
client       sends what a client is told
breakpoints  keeps a client's breakpoint ids
debuggee     is a program, as the connection to its engine
protocol     reads and checks the Debug Adapter Protocol
keeping      decides which crashes to keep
moments      asks programs for dumps
"""
