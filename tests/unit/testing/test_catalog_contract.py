from __future__ import annotations

from pathlib import Path

from lamina.config import Settings
from lamina.storage.catalog import Catalog, SqliteCatalog
from lamina.testing import CatalogTests


class TestSqliteCatalog(CatalogTests):
    """The embedded catalog keeps the contract."""

    def open_catalog(self, folder: Path, *, read_only: bool = False, create: bool = True) -> Catalog:
        """Open it."""
        return SqliteCatalog(folder, Settings(busy_timeout=10), read_only=read_only, create=create)
