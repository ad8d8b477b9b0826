"""Find uncaught exceptions; keep the process, or write its state to a file, and show that later.

uncaught   finds exceptions that nothing catches
exits      finds exceptions that the program reports itself before it ends
reported   finds exceptions that a library catches and reports
crash      keeps the process after such an exception

A dump:

dumping    decides when to write a dump
writing    writes the file
stacks     collects threads, frames and exceptions
graph      collects values, the most important first
texts      makes the text of a value without the program's code
hiding     finds secrets, and hides them in texts
summaries  sums up arrays, tensors and pictures
tables     sums up tables
reading    finds, reads, lists and removes the files: `remora crashes`
opening    shows a file to a client: `remora open`
recorded   answers a client from a file
"""
