"""The catalog: the truth for all that is not a markdown file, behind one interface."""
