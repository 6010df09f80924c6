"""Versions and specifiers mean what the packaging world means by them: compared with its own library."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.markers import Marker
from packaging.specifiers import SpecifierSet
from packaging.version import Version as Theirs

from rspp.cli.verify.packages.markers import applies, here
from rspp.cli.verify.packages.versions import Version, takes

RELEASES = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))


@st.composite
def versions(draw: st.DrawFn, *, local: bool = True) -> str:
    text = draw(st.sampled_from(["", "", "", "1!"])) + draw(RELEASES)
    text += draw(st.sampled_from(["", "", "", "a1", "b2", "rc1", "-alpha.1", "c3", ".pre"]))
    text += draw(st.sampled_from(["", "", "", ".post1", "-2", "rev3"]))
    text += draw(st.sampled_from(["", "", "", ".dev1", "dev"]))
    return text + (draw(st.sampled_from(["", "", "", "+abc", "+1.2", "+a-1"])) if local else "")


@settings(max_examples=150, deadline=None)
@given(versions(), versions())
def test_two_versions_are_ordered_as_everywhere(one: str, other: str) -> None:
    assert (Version(one) < Version(other)) == (Theirs(one) < Theirs(other))
    assert (Version(one) == Version(other)) == (Theirs(one) == Theirs(other))
    assert hash(Version(one)) == hash(Version(one.replace("-alpha.1", "a1")))


@settings(max_examples=250, deadline=None)
@given(versions(), st.sampled_from(["==", "!=", "<=", ">=", "<", ">", "~="]), versions(local=False))
def test_a_specifier_takes_what_it_takes_everywhere(version: str, sign: str, bound: str) -> None:
    try:
        theirs = SpecifierSet(sign + bound).contains(version, prereleases=True)
    except ValueError:
        with pytest.raises(ValueError, match="is no version"):
            takes(sign + bound, Version(version))
        return
    assert takes(sign + bound, Version(version)) == theirs, (version, sign, bound)


@pytest.mark.parametrize("bound", ["1.0", "1.0rc1", "1.0.post1", "1.0.dev1", "1.0a1.post1", "0", "1!0"])
@pytest.mark.parametrize("sign", ["==", "!=", "<=", ">=", "<", ">"])
def test_what_lies_close_to_a_bound_is_told_apart_as_everywhere(sign: str, bound: str) -> None:
    close = [
        "0.9",
        "1.0.dev0",
        "1.0.dev1",
        "1.0a1",
        "1.0a1.post1",
        "1.0rc1.dev0",
        "1.0rc1",
        "1.0rc1.post1",
        "1.0rc2",
    ]
    close += [
        "1",
        "1.0.0",
        "1.0+ours",
        "1.0.post1.dev1",
        "1.0.post1",
        "1.0.post1+ours",
        "1.0.post2",
        "1.0.1",
        "1!0",
    ]
    theirs = SpecifierSet(sign + bound)
    wanted = [version for version in close if theirs.contains(version, prereleases=True)]
    assert [version for version in close if takes(sign + bound, Version(version))] == wanted


@settings(max_examples=100, deadline=None)
@given(versions(), st.sampled_from(["==", "!="]), RELEASES)
def test_a_star_takes_all_that_begin_so(version: str, sign: str, bound: str) -> None:
    assert takes(f"{sign}{bound}.*", Version(version)) == SpecifierSet(f"{sign}{bound}.*").contains(
        version, prereleases=True
    )


@pytest.mark.parametrize("text", ["", "x", "1..2", "1.0-", "1.0+", "v", "1.0 2", "1" * 200, "٣.1"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no version"):
        Version(text)


@pytest.mark.parametrize("text", [">", "=1", "~=1", ">=1.*", "1.0", ">=1;<2"])
def test_what_is_no_specifier_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no version"):
        takes(text, Version("1.0"))


@pytest.mark.parametrize(
    "marker",
    [
        "",
        "sys_platform == 'win32'",
        "sys_platform != 'win32'",
        "python_version < '3.12'",
        "python_full_version >= '3.11.2' and os_name == 'posix'",
        "python_version >= '3.9' or sys_platform == 'x' and os_name == 'nt'",
        "(python_version >= '3.99' or sys_platform == 'x') and os_name == 'posix'",
        "'linux' in sys_platform",
        "platform_python_implementation not in 'PyPy Jython'",
        "'3.5' <= python_version",
        'implementation_name == "cpython"',
    ],
)
def test_a_marker_applies_where_it_applies_everywhere(marker: str) -> None:
    theirs = Marker(marker).evaluate() if marker else True
    assert applies(marker, here()) == theirs


@pytest.mark.parametrize(
    "marker",
    [
        "x == 'y'",
        "sys_platform",
        "sys_platform ==",
        "(" * 40 + "os_name == 'a'",
        "a" * 3000,
        "os_name == 'a' os_name",
    ],
)
def test_what_is_no_marker_is_refused(marker: str) -> None:
    with pytest.raises(ValueError, match="marker"):
        applies(marker, here())
