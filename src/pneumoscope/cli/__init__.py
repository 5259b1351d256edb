"""The command line: parse, call, print. Nothing heavy is imported before a command needs it.

main.py      the program and what it says of errors
options.py   options that commands share
tasks.py     study, and each of its tasks alone
reading.py   read, app, export
data.py      fetch, arrange, check or draw radiographs
output.py    tables and figures on a terminal
"""
