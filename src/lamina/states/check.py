"""Checking states: manifests and their chain, where objects lie, every frame; and naming what depends on damage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lamina.errors import CorruptionError, LaminaError
from lamina.states.context import StatesContext
from lamina.states.losses import AFTER_LOSS, LossCounter
from lamina.states.manifest import Manifest
from lamina.states.rows import ABOVE, load_manifest
from lamina.storage.objects import Stored, find_objects
from lamina.storage.packs import read_pack
from lamina.types import Problem

__all__ = ["PARTLY_LOST", "Findings", "examine", "problems", "standing"]

PARTLY_LOST = "version-partly-lost"
"""Code of a finding that another repair does not mend."""

_SAMPLE = 200
_REPAIR = "Run `lamina repair`."
_KNOWN = "a repair found it damaged"


@dataclass(slots=True)
class Findings:
    """What was found of all states."""

    full: bool = False
    """Whether every byte was looked at."""
    problems: list[Problem] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    unreadable: dict[int, str] = field(default_factory=dict)
    """Versions whose manifest cannot be read, and why."""
    manifests: dict[int, Manifest] = field(default_factory=dict)
    bad: dict[bytes, str] = field(default_factory=dict)
    """Objects that are missing or damaged, and why."""
    gone: set[bytes] = field(default_factory=set)
    """Those of them of which nothing is left."""
    noted: set[int] = field(default_factory=set)
    """Versions whose damage a repair has noted."""
    let_go: set[int] = field(default_factory=set)
    """Versions that were deleted and wait for a collection; what becomes of them is no news."""

    def damaged(self) -> list[int]:
        """Return the versions that need a bad object."""
        return [seq for seq, one in self.manifests.items() if any(address in self.bad for address in one.addresses())]


def problems(context: StatesContext, level: str) -> tuple[list[Problem], dict[str, int]]:
    """Return what is wrong with states, and how much was looked at.

    Args:
        context: Of the store.
        level: ``structure``: manifests, names, whether every object is known and its pack there at full length;
            ``sample``: also the directories of packs and some objects; ``full``: every frame.
    """
    findings = examine(context, level)
    return [*findings.problems, *standing(context, findings)], findings.checked


def examine(context: StatesContext, level: str) -> Findings:
    """Look at all states, as :func:`problems` says."""
    findings = Findings(full=level == "full")
    with context.catalog.read("verifying states") as reader:
        db = reader.db
        _versions(db, findings)
        known_damage = findings.noted | findings.let_go  # what becomes of these is no news
        wanted: dict[bytes, int] = {}
        for seq, manifest in findings.manifests.items():
            for address in manifest.addresses():
                if seq not in known_damage or address not in wanted:
                    wanted[address] = seq
        found = find_objects(db, wanted)
        packs = db.execute("SELECT id, name, size FROM pack ORDER BY id").fetchall()
        findings.problems += _names(db)
    findings.checked["objects"] = len(found)
    for address, seq in wanted.items():
        if address not in found:
            findings.bad[address] = "the catalog does not know where it is"
            findings.gone.add(address)
            if seq not in known_damage:
                findings.problems.append(_missing(findings, seq, address))
    needed = {one.at.pack for address, one in found.items() if wanted[address] not in known_damage}
    spoilt = {id: (reason, missing) for id, reason, missing in _packs(context, packs, level, findings, needed)}
    for address, stored in found.items():
        if stored.at.pack in spoilt:
            findings.bad[address], missing = spoilt[stored.at.pack]
            if missing:
                findings.gone.add(address)
    if level != "structure":
        _objects(context, findings, wanted, found, known_damage, full=level == "full")
    if level != "full":  # what a repair has found is not looked at again
        findings.bad.update((address, _KNOWN) for address, one in found.items() if one.damaged)
    return findings


def standing(context: StatesContext, findings: Findings) -> Iterator[Problem]:
    """Tell of versions whose damage a repair has noted, for as long as they are there and marked so."""
    noted = findings.manifests.keys() & findings.noted - findings.let_go
    if not noted:
        return
    counter = LossCounter(context, findings.bad, findings.gone)
    damaged = set(findings.damaged())
    for seq in sorted(noted):
        manifest = findings.manifests[seq]
        rows = counter.describe(manifest) if seq in damaged else ""
        where = f"version {manifest.id().hex()[:12]} of state {manifest.head.name!r}"
        if not rows and findings.full and seq in damaged:
            rows = "part of it"  # of which a later change has covered every row
        if not rows:  # as after its pack was copied back; until the mark is taken away, changes of it are refused
            message = "marked as damaged, but no damage was found in it"
            hint = "Run `lamina repair`: it takes the mark away where all can be read."
            yield Problem(code="version-marked", where=where, message=message, hint=hint)
            continue
        yield Problem(
            code=PARTLY_LOST,
            where=where,
            message=f"known to be damaged: {rows} cannot be read",
            hint=AFTER_LOSS,
        )


def _versions(db: Any, findings: Findings) -> None:
    """Read every manifest."""
    rows = db.execute("SELECT seq, id, damaged, gone FROM state_version ORDER BY seq").fetchall()
    findings.checked["versions"] = sum(not row[3] for row in rows)
    if findings.checked["versions"] < len(rows):  # they are looked at, too, until a collection takes them
        findings.checked["versions_let_go"] = len(rows) - findings.checked["versions"]
    for seq, id, damaged, gone in rows:
        if damaged:
            findings.noted.add(seq)
        if gone:
            findings.let_go.add(seq)
        try:
            findings.manifests[seq] = load_manifest(db, seq)
        except LaminaError as error:
            findings.unreadable[seq] = error.message
            findings.problems.append(
                Problem(code="version-damaged", where=f"version {id.hex()[:12]}", message=error.message, hint=_REPAIR)
            )


def _names(db: Any) -> Iterator[Problem]:
    for name, ref in db.execute(
        "SELECT s.name, r.name FROM state_ref r LEFT JOIN state s ON s.id = r.state "
        "WHERE r.kind < ? AND r.version IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM state_version v WHERE v.seq = r.version AND v.gone = 0)",
        (ABOVE,),
    ):
        yield Problem(
            code="ref-dangling",
            where=f"state {name}",
            message=f"{ref!r} of state {name!r} names a version that is not there",
            hint=_REPAIR,
        )
    for (seq,) in db.execute(
        "SELECT v.seq FROM state_version v WHERE NOT EXISTS (SELECT 1 FROM state s WHERE s.id = v.state)"
    ):
        yield Problem(
            code="state-missing", where=f"version {seq}", message=f"version number {seq} has no state", hint=_REPAIR
        )


def _packs(
    context: StatesContext, packs: Any, level: str, findings: Findings, needed: set[int]
) -> Iterator[tuple[int, str, bool]]:
    """Look at packs; yield number and damage of those whose objects count as damaged, too, and whether all is gone."""
    findings.checked["packs"] = len(packs)
    for id, name, size in packs:
        reason = ""
        found = context.home.size(name)
        missing, cut = found is None, found is not None and found != size
        if missing:
            reason = "it is missing"
        elif cut:
            reason = f"it has {found:,} bytes instead of {size:,}"
        elif level != "structure":
            try:
                read_pack(context.home, name)
            except LaminaError as error:
                reason = error.message
        if not reason:
            continue
        # What only versions need that are known to be damaged, or nobody, is no news.
        code = "pack-missing" if missing else "pack-damaged"
        if id in needed:
            findings.problems.append(
                Problem(code=code, where=f"pack {name[:16]}", message=f"pack {name}: {reason}", hint=_REPAIR)
            )
        # Where every object is read it is those that cannot be read; a pack may have lost its end alone.
        if missing or (cut and level != "full"):
            yield id, f"pack {name[:16]}: {reason}", missing


def _objects(
    context: StatesContext,
    findings: Findings,
    wanted: dict[bytes, int],
    found: dict[bytes, Stored],
    noted: set[int],
    *,
    full: bool,
) -> None:
    """Read objects: all of them, or a spread of some."""
    chosen = sorted(found.values(), key=lambda one: (one.at.pack, one.at.start))
    if not full:
        chosen = chosen[:: max(1, len(chosen) // _SAMPLE)]
    findings.checked["frames"] = 0
    for stored in chosen:
        if stored.address in findings.bad:
            continue
        try:
            encoded = context.objects.as_stored(stored)
            findings.checked["frames"] += encoded.table.frames
        except LaminaError as error:
            findings.bad[stored.address] = error.message
            seq = wanted[stored.address]
            if seq in noted:
                continue
            head = findings.manifests[seq].head
            code = "object-damaged" if isinstance(error, CorruptionError) else "object-unreadable"
            message = (
                f"{error.message} Version {findings.manifests[seq].id().hex()[:12]} of state {head.name!r} needs it."
            )
            findings.problems.append(Problem(code=code, where=stored.name, message=message, hint=_REPAIR))


def _missing(findings: Findings, seq: int, address: bytes) -> Problem:
    manifest = findings.manifests[seq]
    return Problem(
        code="object-missing",
        where=f"version {manifest.id().hex()[:12]}",
        message=f"object {address.hex()[:16]}, which a version of state {manifest.head.name!r} needs, is not known",
        hint=_REPAIR,
    )
