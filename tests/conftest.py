"""Shared fixtures. Anything that needs a server or a model lives beside its tests."""
