"""The one place that states Lamina's version."""

__version__ = "0.1.0"
