"""What stands between outsiders and the store: paths that may not lead out of it, secrets that may not be shared."""

from __future__ import annotations

from lamina.guard.paths import contained, safe_relative
from lamina.guard.secrets import Secret, find_secrets

__all__ = ["Secret", "contained", "find_secrets", "safe_relative"]
