"""Debugging for all Python of a container: the debug layer of this project.

hook        runs in every Python interpreter of the debug image, when it starts
program     what the hook sees to in a process that can be debugged
engine      debugpy's pydevd, loaded into a program only when a debugger wants it
hub         the one process of the container that owns the debug port
command     the command `remora`
"""
