"""The debug layer of this project: debugging for all Python programs of a container.

A program that can be debugged:

hook         runs at the start of every Python, and checks the mode and the port
checks       checks the settings of single modes
program      makes the process ready to be asked: at its start, by a signal
forks        lets forks wait for the engine, and makes each child ready
waiting      waits for a client, and lets signals end the wait
pausing      keeps signal.pause() from ending when the hub asks
ranks        tells the rank of the process, and whether REMORA_RANK holds it
commandline  reads what a command line runs
container    reads the container's processes from /proc
link         connects to the hub through a Unix socket
connection   keeps apart this socket and the descriptors of the program
engine       loads pydevd, and connects it to the hub
apart        imports pydevd apart from the program's own modules
changes      changes pydevd to serve the hub
answering    makes pydevd answer at the right moment, or refuse
ending       ends a session without a trace
tracing      traces threads that run already, on Python 3.8 to 3.11
delays       removes delays of pydevd
threads      starts the layer's own threads
values       makes pydevd show big values quickly
attributes   makes pydevd read properties only when a user opens them
limits       ends a call of the program's code that takes too long
templates    sets breakpoints in Django and Jinja templates
greenlets    debugs programs under gevent
explicit     answers debugpy's calls in the program's own code
imports      changes modules of the program once they are imported
pickled      keeps the file names of functions that are sent to another process
watchdogs    keeps servers from ending paused workers

Files:

paths        gives pydevd the project's name of a file
files        finds the project's file for a file of the container, and the other way round
project      reads the copy of the project's files
pathnames    compares paths as texts

Crashes:

uncaught     finds exceptions that nothing catches
exits        finds exceptions that the program reports itself before it ends
reported     finds exceptions that a library catches and reports
crash        keeps the process after such an exception
dumping      decides when to write a dump
dump         writes the file
stacks       collects threads, frames and exceptions
graph        collects values, the most important first
texts        makes the text of a value without the program's code
hiding       finds secrets, and hides them in texts
summaries    sums up arrays, tensors and pictures
tables       sums up tables

The hub, the one process of the container that owns the debug port:

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

The command `remora`:

__main__     starts the hub or the command
command      parses the command line, and runs the simple commands
processes    says what each process does, or why it cannot be debugged
at           runs `remora at`
watch        is the client with which `remora at` waits for a line
place        finds the line, however the user names the file
relay        runs `remora relay`
dumps        runs `remora crashes`
opening      runs `remora open`
recorded     answers an editor from a dump
"""
