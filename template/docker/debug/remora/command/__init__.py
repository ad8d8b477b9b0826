"""The command `remora`, for people, scripts and coding agents.

command    parses the command line, and runs the simple commands
processes  says what each process does, or why it cannot be debugged
at         runs `remora at`
watch      is the client with which `remora at` waits for a line
place      finds the line, however the user names the file
relay      runs `remora relay`
"""
