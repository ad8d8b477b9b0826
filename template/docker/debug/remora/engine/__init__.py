"""Load pydevd into a program once a client attaches, and change pydevd.

engine      loads pydevd, and connects it to the hub
apart       imports pydevd apart from the program's own modules
changes     changes pydevd to serve the hub
answering   makes pydevd answer at the right moment, or refuse
ending      ends a session without a trace
tracing     traces threads that run already, on Python 3.8 to 3.11
delays      removes delays of pydevd
values      makes pydevd show big values quickly
attributes  makes pydevd read properties only when a user opens them
limits      ends a call of the program's code that takes too long
"""
