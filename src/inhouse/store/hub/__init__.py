"""The Hugging Face Hub: names, what to take of a repository, its cache on this machine, and asking it.

names.py    a source text as a repository, a revision and what is wanted of it; pure
listing.py  which files of a repository make a model; pure
cache.py    Hugging Face's cache on this machine, read and added to
client.py   the Hub itself, through the library huggingface_hub

The cache's layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""
