"""How each kind of model is run: a recipe per engine, pure; the work is done by worker processes.

Imports nothing: every worker program passes through here on its way to start.
"""
