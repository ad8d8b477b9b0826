"""Debugging for all Python of a container: the debug layer of this project.

In a program:

hook         runs in every Python interpreter of the debug image, when it starts
checks       what the settings of single modes may be
program      a process that can be debugged: when it starts, when it is asked, when it forks
ranks        which of several ranks a process is, and which are held
container    what /proc tells of the container's processes
commandline  what the command line of a Python process tells
link         the way from a process to the hub
engine       debugpy's pydevd, loaded into a program only when a debugger wants it
changes      what pydevd does otherwise here
threads      threads of this layer's own
ending       how a session of pydevd ends
values       big values are shown soon
greenlets    programs whose threads gevent makes greenlets
tracing      threads that run already, where pydevd cannot trace them
paths        pydevd's paths of files, by what files tells
files        which file of the project a file of the container is
project      the project's files, as the debug image has copied them
pathnames    paths as texts
imports      changes modules that the program imports
watchdogs    no server ends a worker that is paused
explicit     answers calls of debugpy that the program's own code has
apart        keeps the engine's modules apart from the program's
uncaught     finds exceptions that nothing catches, in the modes `crash` and `dump`
reported     finds those that a library catches and reports, or hands on
crash        keeps what such an exception leaves, in mode `crash`
dumping      when a dump is written, in mode `dump`
dump         writes one: stacks.py has threads and exceptions, graph.py the values
texts        the text of a value, without the program's code; summaries, of arrays and tables

In the hub, the one process of the container that owns the debug port:

server       its sockets, for clients, programs and the command
hub          all clients and programs, and which of these each client is shown
calls        who is asked for an engine, and who has not come yet
session      what a client asks; client, what it is told
moments      the programs that are asked for a dump; keeping, the crashes that are kept
daemon       what makes the hub a process of its own
breakpoints  the ids of breakpoints that a client knows
debuggee     a program, as its engine's connection
protocol     frames of the Debug Adapter Protocol, and what a client may ask

The command:

command      the command `remora`; __main__ runs that or the hub
processes    what it tells of each Python process, and why one cannot be debugged
relay        `remora relay`, for a client where nothing forwards a port
at           `remora at`, which prints what a program has at a line
watch        a client of the hub, which reads programs at a line
place        the line of a file, whatever the user calls the file
dumps        `remora crashes` and `remora dump`: the files of mode `dump`
opening      `remora open`, which shows one to a client; recorded answers its requests
"""
