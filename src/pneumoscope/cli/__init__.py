"""The command line: parse options, call the package, print results."""
