"""The debug layer of this project: debugging for all Python programs of a container.

In every program, and shared by all packages:

hook         runs at the start of every Python, and checks the mode and the port
checks       checks the settings of single modes
program      makes the process ready to be asked: at its start, by a signal
waiting      waits for a client, and lets signals end the wait
pausing      keeps signal.pause() from ending when the hub asks
forks        lets forks wait for the engine, and makes each child ready
threads      starts the layer's own threads
ranks        tells the rank of the process, and whether REMORA_RANK holds it
commandline  reads what a command line runs
container    reads the container's processes from /proc
link         connects to the hub through a Unix socket
connection   keeps apart this socket and the descriptors of the program
__main__     starts the hub or the command

The packages (each lists its modules):

engine       loads pydevd into a program once a client attaches, and changes pydevd
libraries    changes libraries that a program uses, so that it can be debugged
sources      knows the names of a source file: in the project, in the container, for a client
crashes      finds uncaught exceptions; keeps the process, or writes a dump, which it shows later
hub          is the one process of the container that owns the debug port
command      is the command `remora`, for people, scripts and coding agents
"""
