"""One module a format of real records; all of them yield the same few kinds of things, which ``importing`` stores."""

from __future__ import annotations
