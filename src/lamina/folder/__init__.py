"""The memory directory: markdown that people edit, and the index that agents load."""
