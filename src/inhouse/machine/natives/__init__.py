"""Small programs of their own, one for each native library: run by path, standard library only.

Drivers' libraries crash, hang and write where they should not, so the server never loads one. Each of
these loads one, prints what it told as a line of JSON, and ends; ``asking.native`` runs them.
"""
