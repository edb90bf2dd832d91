"""Three-way merge of an index: pointers as a set, prose by lines, nothing lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lamina.folder.index import Index, pointer_line
from lamina.folder.limits import Limits
from lamina.folder.merge import Merged, merge
from lamina.folder.overflow import fit, settle

BASE = "# M\n\nIntro.\n\n## One\n- [A](a.md) — about a\n- [B](b.md) — about b\n\n## Two\n- [C](c.md)\n\nEnd.\n"

NAMES = st.text("abcd", min_size=1, max_size=2)
POINTERS = st.builds(
    lambda name, hook, bullet: pointer_line(name, f"{name}.md", hook, prefix=bullet) + "\n",
    NAMES, st.sampled_from(["", "one", "two words"]), st.sampled_from(["- ", "* ", "  - "]),
)  # fmt: skip
PROSE = st.sampled_from(["# H\n", "\n", "prose\n", "other\n", "- item\n", "> quote\n"])
FILES = st.lists(POINTERS | PROSE, max_size=10).map("".join)
ANY_LINE = POINTERS | PROSE | st.sampled_from(["```\n", "<!--\n", "-->\n", "  below\n", "- [2 more](MEMORY.more.md)\n"])
WILD = st.lists(ANY_LINE, max_size=10).map("".join)
ENDINGS = st.sampled_from(["\n", "\r\n"])


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A file with one pointer a target, and three versions of it that delete and add pointers only."""
    lines = draw(st.lists(st.sampled_from(["# H\n", "\n", "prose\n"]), max_size=6))
    names = draw(st.lists(NAMES, unique=True, max_size=8))
    for name in names:
        lines.insert(draw(st.integers(0, len(lines))), f"- [{name}]({name}.md)\n")
    base = "".join(lines)
    versions = []
    for _ in range(3):
        index = _index(base)
        for name in draw(st.lists(st.sampled_from(names), max_size=3)) if names else ():
            index = index.without(f"{name}.md")
        for name in draw(st.lists(NAMES.filter(lambda name: name not in names), max_size=4)):
            index = index.with_pointer(name, f"{name}.md", draw(st.sampled_from(["", "one", "two"])))
        versions.append(index.text)
    return base, versions


def _index(text: str) -> Index:
    return Index.parse(text.encode())


def _merge(base: str, ours: str, theirs: str) -> Merged:
    return merge(base.encode(), ours.encode(), theirs.encode())


def _targets(data: bytes) -> tuple[str, ...]:
    return tuple(pointer.target for pointer in Index.parse(data).pointers)


@given(WILD, WILD, WILD, ENDINGS, ENDINGS)
def test_no_side_is_preferred(base: str, ours: str, theirs: str, ending: str, other: str) -> None:
    """Exchanging the sides gives the same file; in a conflict, the same lines and the same number of conflicts."""
    versions = [text.replace("\n", end).encode() for text, end in ((base, "\n"), (ours, ending), (theirs, other))]
    one, two = merge(*versions), merge(versions[0], versions[2], versions[1])
    assert one.conflicts == two.conflicts
    if one.conflicts:
        assert sorted(one.data.splitlines()) == sorted(two.data.splitlines())
    else:
        assert one.data == two.data


@given(FILES, FILES)
def test_what_one_side_alone_changed_is_taken(base: str, changed: str) -> None:
    """Without a change on the other side the result is the changed file, byte for byte; so it is if both agree."""
    for sides in ((base, changed), (changed, base), (changed, changed)):
        assert Merged(changed.encode(), 0) == _merge(base, *sides)


@given(FILES, FILES, FILES)
def test_pointers_merge_as_a_set(base: str, ours: str, theirs: str) -> None:
    """What either added or changed is there, and what a side deleted and the other left alone is not."""
    old, mine, other = (_index(text) for text in (base, ours, theirs))
    merged = Index.parse(_merge(base, ours, theirs).data)
    everything = {*old.targets, *mine.targets, *other.targets}
    for target in everything:
        lines = [[(one.raw.rstrip("\n"), one.hook) for one in index.find(target)] for index in (old, mine, other)]
        if (lines[1] and lines[2]) or (not lines[0] and (lines[1] or lines[2])):
            assert merged.find(target)
        elif not (lines[1] or lines[2]):
            assert not merged.find(target)
        elif len(lines[0]) == 1:
            changed = [kept for kept in lines[1:] if kept and kept != lines[0]]
            assert bool(changed) is bool(merged.find(target))
    assert set(merged.targets) <= everything


@given(edits())
def test_edits_of_pointers_never_conflict(case: tuple[str, list[str]]) -> None:
    """Adding and deleting merges without a conflict, each target once, prose untouched."""
    base, (ours, theirs, _) = case
    merged = _merge(base, ours, theirs)
    index = Index.parse(merged.data)
    assert 0 == merged.conflicts
    assert len(index.targets) == len(index.pointers)
    was = _index(base)
    assert was.without_pointers(was.pointers).text == index.without_pointers(index.pointers).text


@given(edits())
def test_three_clones_converge(case: tuple[str, list[str]]) -> None:
    """In whatever order three clones merge pairwise, they end with the same pointers."""
    base, versions = case
    ends = set()
    for first, second, third in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (1, 0, 2)):
        pair = _merge(base, versions[first], versions[second])
        assert 0 == pair.conflicts
        last = merge(base.encode(), pair.data, versions[third].encode())
        assert 0 == last.conflicts
        ends.add(frozenset(_targets(last.data)))
    assert 1 == len(ends)


def test_both_append_at_the_same_place() -> None:
    """The everyday conflict of two clones is none: both lines are there, each side's in its order."""
    ours = BASE.replace("- [C](c.md)\n", "- [C](c.md)\n- [Y](y.md)\n- [E](e.md)\n")
    theirs = BASE.replace("- [C](c.md)\n", "- [C](c.md)\n- [D](d.md)\n")
    merged = _merge(BASE, ours, theirs)
    assert BASE.replace("- [C](c.md)\n", "- [C](c.md)\n- [D](d.md)\n- [Y](y.md)\n- [E](e.md)\n") == merged.data.decode()
    assert 0 == merged.conflicts


def test_pointers_and_prose_merge_beside_each_other() -> None:
    """One side rewrites headings and sentences, the other adds, deletes and rewords pointers next to them."""
    ours = BASE.replace("## One", "## First").replace("End.", "The end.").replace("Intro.\n", "Intro.\n\nMore.\n")
    theirs = BASE.replace("- [A](a.md) — about a\n", "").replace("about b", "all of b").replace(
        "- [C](c.md)\n", "- [N](n.md)\n- [C](c.md)\n"
    )  # fmt: skip
    assert (
        "# M\n\nIntro.\n\nMore.\n\n## First\n- [B](b.md) — all of b\n\n## Two\n- [N](n.md)\n- [C](c.md)\n\nThe end.\n"
    ) == _merge(BASE, ours, theirs).data.decode()


def test_deleted_by_one_and_changed_by_the_other_stays() -> None:
    """A hook that somebody just wrote is not lost to a deletion; an untouched pointer is deleted."""
    ours = BASE.replace("- [A](a.md) — about a\n", "").replace("- [B](b.md) — about b\n", "")
    theirs = BASE.replace("about a", "important")
    assert ours.replace("## One\n", "## One\n- [A](a.md) — important\n") == _merge(BASE, ours, theirs).data.decode()


def test_parts_of_one_pointer_merge() -> None:
    """One side's title and the other's hook come together."""
    ours, theirs = BASE.replace("[A]", "[All of A]"), BASE.replace("about a", "more")
    assert "- [All of A](a.md) — more\n" in _merge(BASE, ours, theirs).data.decode()


def test_runs_that_move_among_equal_lines_make_no_conflict() -> None:
    """Where the prose is the same, no way in which pointers stand among it is a conflict."""
    base, ours, theirs = "\n- [A](a.md)\n\n\n", "\n\n- [A](a.md)\n\n", "\n\n\n"
    assert Merged(theirs.encode(), 0) == _merge(base, ours, theirs)


def test_both_change_one_hook() -> None:
    """Two wordings of what was one are a conflict, shown with both; no pointer is lost."""
    ours, theirs = BASE.replace("about a", "mine"), BASE.replace("about a", "yours")
    merged = _merge(BASE, ours, theirs)
    shown = "<<<<<<< ours\n- [A](a.md) — mine\n=======\n- [A](a.md) — yours\n>>>>>>> theirs\n"
    assert (1, BASE.replace("- [A](a.md) — about a\n", shown)) == (merged.conflicts, merged.data.decode())


def test_both_added_one_target() -> None:
    """There is one pointer, with the longer words."""
    ours, theirs = BASE + "- [D](d.md)\n", BASE + "- [D](d.md) — why\n"
    merged = _merge(BASE, ours, theirs)
    assert (0, theirs) == (merged.conflicts, merged.data.decode())


def test_both_change_the_same_prose() -> None:
    """Markers as git writes them around the two versions; pointers stay outside and whole."""
    ours = BASE.replace("Intro.", "Mine.").replace("## Two\n", "## Two\n- [N](n.md)\n")
    theirs = BASE.replace("Intro.", "Yours.").replace("- [C](c.md)\n", "")
    merged = _merge(BASE, ours, theirs)
    shown = "<<<<<<< ours\nMine.\n=======\nYours.\n>>>>>>> theirs"
    assert BASE.replace("Intro.", shown).replace("- [C](c.md)", "- [N](n.md)") == merged.data.decode()
    assert 1 == merged.conflicts


def test_moving_a_pointer_is_kept() -> None:
    """A pointer that one side moved to another heading stands there, with what the other side said of it."""
    ours = BASE.replace("- [A](a.md) — about a\n", "").replace("- [C]", "- [A](a.md) — about a\n- [C]")
    theirs = BASE.replace("about a", "more")
    merged = _merge(BASE, ours, theirs)
    assert ours.replace("about a", "more") == merged.data.decode()


def test_reordering_is_kept() -> None:
    """The order of the side that changed it holds, with the other's new pointer after the one that it followed."""
    ours = "- [C](c.md)\n- [B](b.md)\n- [A](a.md)\n"
    theirs = "- [A](a.md)\n- [N](n.md)\n- [B](b.md)\n- [C](c.md)\n"
    base = "- [A](a.md)\n- [B](b.md)\n- [C](c.md)\n"
    assert "- [C](c.md)\n- [B](b.md)\n- [A](a.md)\n- [N](n.md)\n" == _merge(base, ours, theirs).data.decode()


def test_line_endings_and_a_missing_last_newline_merge_too() -> None:
    """One side's change to CRLF and the other's new pointer come together, as does what one did to the file's end."""
    ours = BASE.replace("\n", "\r\n")
    theirs = BASE.replace("- [C]", "- [N](n.md)\n- [C]").removesuffix("\n")
    assert theirs.replace("\n", "\r\n") == _merge(BASE, ours, theirs).data.decode()
    assert b"\xef\xbb\xbf" == _merge(BASE, "\ufeff" + BASE, theirs).data[:3]


def test_mixed_line_endings_stay_on_their_lines() -> None:
    """A file with several endings is not evened out by a merge."""
    base = "# M\r\nprose\n- [A](a.md)\r\n"
    merged = _merge(base, base + "- [B](b.md)\n", base.replace("# M", "# N"))
    assert "# N\r\nprose\n- [A](a.md)\r\n- [B](b.md)\n" == merged.data.decode()


def test_a_pointer_is_not_swallowed_by_the_other_sides_fence() -> None:
    """Where one side opens a fence above the list and the other adds to the list, the new pointer stays one."""
    base = "# M\n\n- [A](a.md)\n"
    merged = _merge(base, f"```\n{base}", f"{base}- [C](c.md)\n")
    assert f"- [C](c.md)\n```\n{base}" == merged.data.decode()


def test_bytes_that_are_not_utf8_survive() -> None:
    """They are prose, merged as such."""
    base = b"# \xff\n- [A](a.md)\n"
    assert b"# \xff\n- [A](a.md)\n- [B](b.md)\ne\xfe\n" == merge(base, base + b"- [B](b.md)\n", base + b"e\xfe\n").data


def test_two_clones_that_overflow_agree() -> None:
    """Each moved what ranked lowest; merged, both files name every memory once, and counting again gives the truth."""
    base = _index("# M\n" + "".join(f"- [M]({number}.md)\n" for number in range(9)))
    limits = Limits(10, 5000)

    def clone(new: int) -> tuple[bytes, bytes]:
        placed = fit(
            base.with_pointer("N", f"{new}.md", "").with_pointer("N", f"{new + 1}.md", ""),
            None, limits, lambda target: int(target.removesuffix(".md")),
        )  # fmt: skip
        assert placed.overflow is not None
        return placed.index.data, placed.overflow.data

    ours, theirs = clone(20), clone(30)
    index, overflow = merge(base.data, ours[0], theirs[0]), merge(b"", ours[1], theirs[1])
    assert (0, 0) == (index.conflicts, overflow.conflicts)
    settled = settle(Index.parse(index.data), Index.parse(overflow.data))
    names = [*settled.index.targets, *Index.parse(overflow.data).targets]
    assert sorted(f"{number}.md" for number in (*range(9), 20, 21, 30, 31)) == sorted(names)
    assert f"[{len(Index.parse(overflow.data).pointers)} more memories]" in settled.index.text


def test_the_overflow_line_keeps_the_larger_number() -> None:
    """One line, after the pointers, until the next edit counts again."""
    line = "- [{} more memories](MEMORY.more.md) — did not fit here; `lamina recall` finds them\n"
    base = BASE + line.format(9)
    ours = base.replace("9 more", "12 more")
    theirs = base.replace("9 more", "1,011 more").replace("- [1,011", "- [N](n.md)\n- [1,011")
    assert theirs == _merge(base, ours, theirs).data.decode()
    assert theirs == _merge(base, theirs, ours).data.decode()


def test_no_common_version() -> None:
    """Two files that were made apart: the pointers of both, once each, and prose that both have once."""
    merged = _merge("", "# M\n- [A](a.md)\n- [B](b.md)\n", "# M\n- [B](b.md)\n- [C](c.md)\n")
    assert 0 == merged.conflicts
    assert {"a.md", "b.md", "c.md"} == set(_targets(merged.data))
    assert 1 == merged.data.count(b"# M\n")
