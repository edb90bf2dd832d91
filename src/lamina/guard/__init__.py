"""What stands between outsiders and the store: paths that may not lead out of it, secrets that may not be shared.

``lamina.guard.paths`` and ``lamina.guard.secrets`` are imported by name: whoever opens a folder needs the first, and
only what is about to be shared needs the second, whose rules take 10 ms to load.
"""
