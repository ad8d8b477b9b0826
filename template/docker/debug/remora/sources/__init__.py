"""The names of a source file: in the project, in the container, and for a client.

paths      gives pydevd the project's name of a file
files      finds the project's file for a file of the container, and the other way round
project    reads the copy of the project's files
pathnames  compares paths as texts
"""
