"""Builds of an engine: which there are, which fit this machine, which are installed, which is taken.

The life of a build: a line of ``builds.toml`` (``catalogue``) · a file and its digest (``origin``) · unpacked
(``unpack``) or compiled (``compile``) · a folder with its record (``shelf``) · probed (``probe``) · measured
against the wheel (``figures``) · chosen (``choice``).
"""
