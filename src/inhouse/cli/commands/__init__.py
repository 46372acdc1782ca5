"""One command a file; each module has its click command as ``command``."""
