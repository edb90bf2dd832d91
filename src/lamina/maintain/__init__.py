"""Keeping a store well: verify, repair, reindex, optimize, backup, doctor."""
