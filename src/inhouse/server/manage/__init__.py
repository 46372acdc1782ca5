"""Endpoints that manage models and tell the state; they may use store, ledger, fleet and machine."""
