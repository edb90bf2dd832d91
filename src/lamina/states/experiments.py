"""Named experiments over one baseline: a branch each, their results side by side, the best one tagged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from lamina.errors import AlreadyExistsError, InvalidInputError, there_are
from lamina.states.checks import check_metadata
from lamina.states.types import Version

if TYPE_CHECKING:
    from lamina.states.api import States
    from lamina.states.grid import ToroidalGrid
    from lamina.states.state import State

__all__ = ["Experiment", "Experiments"]

_RESULTS, _EXPERIMENT = "results", "experiment"
_RECORDED = "recorded"
"""The message of a version that :meth:`Experiments.record` made: what an update or a restore of it has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One row of the comparison."""

    name: str
    """The branch."""
    version: Version
    """The newest that was recorded for it."""
    results: Mapping[str, Any]
    """By name, as they were recorded with the version."""
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
        """Commit what an experiment came to, with its results.

        Args:
            experiment: Its name.
            arrays: As in :meth:`lamina.States.commit`.
            results: Finite numbers by name.

        Raises:
            InvalidInputError: A result is no finite number.
            NotFoundError: The experiment was not started.
        """
        if not isinstance(results, Mapping):
            raise InvalidInputError("The results are no mapping.", hint='Pass a dict such as {"loss": 0.3}.')
        found: Mapping[Any, Any] = results
        for name, value in found.items():
            if not isinstance(name, str) or not isinstance(value, Real):
                raise InvalidInputError(f"The result {name!r} is {value!r:.80}, not a number.", hint="Pass a number.")
        metadata = check_metadata({_RESULTS: dict(results), _EXPERIMENT: experiment})
        return self._states.commit(self.name, arrays, branch=experiment, metadata=metadata, message=_RECORDED)

    def compare(self, by: str | None = None, *, largest: bool = True) -> list[Experiment]:
        """Return the experiments that have results, the best first; each with what was recorded for it last.

        Args:
            by: The result to sort by; by name where None. What lacks it comes last.
            largest: Whether more is better.

        Raises:
            InvalidInputError: No experiment has that result.
        """
        versions = {version.id: version for version in self._states.log(self.name)}
        rows = []
        for head in versions.values():
            for branch in head.branches:
                version = _recorded(versions, head, branch)
                if version is not None:
                    results = version.metadata[_RESULTS]
                    rows.append(Experiment(name=branch, version=version, results=results, tags=version.tags))
        if by is None:
            return sorted(rows, key=lambda row: row.name)
        names = list(dict.fromkeys(name for row in rows for name in row.results))
        if rows and by not in names:
            raise InvalidInputError(
                f"No experiment of {self.name!r} has a result {by!r}.", hint=there_are(str(by), names)
            )

        def rank(row: Experiment) -> tuple[bool, float, str]:
            value = row.results.get(by)
            if not isinstance(value, (int, float)):
                return True, 0.0, row.name
            return False, -float(value) if largest else float(value), row.name

        return sorted(rows, key=rank)

    def best(self, by: str, tag: str, *, largest: bool = True) -> Version:
        """Tag the version of the experiment that did best.

        A tag stays with its version for good: when another experiment does better later, give it a tag of its own.

        Raises:
            InvalidInputError: No experiment has that result.
            AlreadyExistsError: The tag was given to another version.
        """
        rows = [row for row in self.compare(by, largest=largest) if isinstance(row.results.get(by), (int, float))]
        if not rows:
            raise InvalidInputError(f"No experiment of {self.name!r} has a result {by!r}.", hint="Record one first.")
        try:
            return self._states.tag(self.name, rows[0].version, tag)
        except AlreadyExistsError as error:
            error.hint = f"The best one now is {rows[0].name!r}: give it another tag."
            raise


def _recorded(versions: Mapping[str, Version], head: Version, branch: str) -> Version | None:
    """Return the newest version that was recorded for an experiment, going back from where its branch is."""
    version: Version | None = head
    while version is not None:
        if version.message == _RECORDED and isinstance(version.metadata.get(_RESULTS), Mapping):
            return version if version.metadata.get(_EXPERIMENT, branch) == branch else None
        version = versions.get(version.parent or "")
    return None
