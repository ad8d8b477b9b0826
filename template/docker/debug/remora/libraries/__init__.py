"""Change libraries that a program uses, so that it can be debugged.

imports    changes modules of the program once they are imported
explicit   answers debugpy's calls in the program's own code
templates  sets breakpoints in Django and Jinja templates
greenlets  debugs programs under gevent
pickled    keeps the file names of functions that are sent to another process
watchdogs  keeps servers from ending paused workers
"""
