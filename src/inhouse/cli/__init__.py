"""The command line: a client of the server. One command a file, each imported when it is called."""
