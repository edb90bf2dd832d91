"""Named experiments over one baseline: a branch each, their results side by side, the best one tagged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamina.errors import InvalidInputError
from lamina.states.checks import check_metadata
from lamina.states.types import Version

if TYPE_CHECKING:
    from lamina.states.api import States
    from lamina.states.grid import ToroidalGrid
    from lamina.states.state import State

__all__ = ["Experiment", "Experiments"]

_RESULTS = "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One row of the comparison."""

    name: str
    """The branch."""
    version: Version
    results: Mapping[str, Any]
    """What was recorded with its newest version."""
    tags: tuple[str, ...]


class Experiments:
    """Experiments over a state. Made by :meth:`lamina.States.experiments`.

    Each begins at the same version, bit for bit, and cannot change it; its results are numbers in the metadata.
    """

    def __init__(self, states: States, name: str) -> None:
        self.name = name
        self._states = states

    def start(self, experiment: str, *, baseline: Any = "main") -> State:
        """Begin an experiment at a version, and open what it begins with.

        Raises:
            AlreadyExistsError: There is one of that name.
        """
        self._states.branch(self.name, experiment, baseline)
        return self._states.open(self.name, experiment)

    def record(
        self, experiment: str, arrays: Mapping[str, Any] | ToroidalGrid, results: Mapping[str, float]
    ) -> Version:
        """Commit what an experiment came to, with its results."""
        metadata = check_metadata({_RESULTS: dict(results)})
        version = self._states.commit(self.name, arrays, branch=experiment, metadata=metadata, message="recorded")
        assert isinstance(version, Version)
        return version

    def compare(self, by: str | None = None, *, largest: bool = True) -> list[Experiment]:
        """Return the newest version of each branch that has results, the best first.

        Args:
            by: The result to sort by; by name where None. What lacks it comes last.
            largest: Whether more is better.
        """
        rows = []
        for version in self._states.log(self.name):
            results = version.metadata.get(_RESULTS)
            if isinstance(results, Mapping):
                rows += [
                    Experiment(name=branch, version=version, results=results, tags=version.tags)
                    for branch in version.branches
                ]
        if by is None:
            return sorted(rows, key=lambda row: row.name)

        def rank(row: Experiment) -> tuple[bool, float, str]:
            value = row.results.get(by)
            if not isinstance(value, (int, float)):
                return True, 0.0, row.name
            return False, -float(value) if largest else float(value), row.name

        return sorted(rows, key=rank)

    def best(self, by: str, tag: str, *, largest: bool = True) -> Version:
        """Tag the version of the experiment that did best.

        Raises:
            InvalidInputError: No experiment has that result.
            AlreadyExistsError: The tag was given to another one.
        """
        rows = [row for row in self.compare(by, largest=largest) if isinstance(row.results.get(by), (int, float))]
        if not rows:
            raise InvalidInputError(f"No experiment of {self.name!r} has a result {by!r}.", hint="Record one first.")
        return self._states.tag(self.name, rows[0].version, tag)
