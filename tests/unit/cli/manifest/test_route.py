"""A route comes from a file, from options or both; what is wrong in it is told with its line."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.manifest.working import Work


@pytest.fixture
def routable(work: Work) -> Work:
    work.done("init", "--session", "s")
    work.done("step", "begin", "--goal", "g")
    return work


def routing(work: Work) -> dict[str, Any]:
    found: dict[str, Any] = work.show()["document"]["ROUTING"]
    return found


def test_options_add_to_the_lists_of_the_file_and_replace_its_words(routable: Work) -> None:
    routable.write(
        "r.yaml",
        "DOMAIN: SYS\nPIPE_SELECTED: KEY:PIPE.A\nREQUIRED_ROLES: [SPC]\nNO_GO_LIST:\n  - deploy/**\n",
    )
    said = routable.done(
        "route", "--from", "r.yaml", "--role", "QA", "--role", "SPC", "--domain", "MUSIC", "--kb", "KB.1"
    )
    assert said.splitlines()[0] == "routed: 2 roles; 1 on the no-go list"
    found = routing(routable)
    assert found["DOMAIN"] == "MUSIC"
    assert found["PIPE_SELECTED"] == "KEY:PIPE.A"
    assert found["REQUIRED_ROLES"] == ["SPC", "QA"]
    assert found["REQUIRED_KB_KEYS"] == ["KB.1"]
    assert found["NO_GO_LIST"] == ["deploy/**"]


@pytest.mark.parametrize(
    "text",
    [
        '{"REQUIRED_ROLES": ["QA"]}',
        '{"ROUTING": {"REQUIRED_ROLES": ["QA"]}}',
        "ROUTING:\n  REQUIRED_ROLES:\n    - QA\n",
        "\ufeffREQUIRED_ROLES: [QA]\n",
    ],
)
def test_it_is_read_from_stdin_as_yaml_or_json_bare_or_below_its_name(routable: Work, text: str) -> None:
    routable.done("route", "--from", "-", stdin=text.encode())
    assert routing(routable)["REQUIRED_ROLES"] == ["QA"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "DOMAIN: SYS\nREQUIRED_ROLE: [QA]\n",
            ["r.yaml:2:", "REQUIRED_ROLE", "Did you mean REQUIRED_ROLES?"],
        ),
        ("\nREQUIRED_ROLES: QA\n", ["r.yaml:2:", "must be a list"]),
        ("REQUIRED_ROLES:\n  - QA\n  - 7\n", ["r.yaml:3:", "REQUIRED_ROLES[1]"]),
        ("REQUIRED_ROLES: [[QA]]\n", ["r.yaml:1:", "REQUIRED_ROLES[0]"]),
        ("DOMAIN: [SYS]\n", ["r.yaml:1:", "DOMAIN"]),
        ("REQUIRED_ROLES: ['a b']\n", ["r.yaml:1:", "REQUIRED_ROLES"]),
        ("ROUTING: [x]\n", ["ROUTING"]),
        ("a: [\n", ["r.yaml:"]),
        ("- QA\n", ["r.yaml:"]),
        ("", ["r.yaml"]),
        ("DOMAIN: a\nDOMAIN: b\n", ["r.yaml:2:", "DOMAIN"]),
        ("DOMAIN: &a x\nPROFILE_KEY: *a\n", ["r.yaml:1:"]),
        ("DOMAIN: !!python/object:os.system x\n", ["r.yaml:1:"]),
        ("{" * 200, ["r.yaml"]),
        ("NO_GO_LIST: [/etc/passwd]\n", ["NO_GO_LIST"]),
        ("NO_GO_LIST: ['']\n", ["NO_GO_LIST"]),
        ("REQUIRED_ROLES: ['']\n", ["REQUIRED_ROLES"]),
    ],
)
def test_what_is_no_route_is_told_with_file_and_line_and_the_step_is_not_routed(
    routable: Work, text: str, says: list[str]
) -> None:
    routable.write("r.yaml", text)
    before = routable.file.read_bytes()
    routable.refused("route", "--from", "r.yaml", says=says)
    assert routable.file.read_bytes() == before
    routable.done("route", "--role", "QA")


def test_bytes_that_are_no_text_and_a_file_that_is_too_large_are_refused(routable: Work) -> None:
    (routable.folder / "r.yaml").write_bytes(b"DOMAIN: \xff\xfe\n")
    routable.refused("route", "--from", "r.yaml", says=["UTF-8"])
    (routable.folder / "r.yaml").write_bytes(b"#" * (1024 * 1024 + 1))
    routable.refused("route", "--from", "r.yaml", status=2, says=["more than"])


@pytest.mark.parametrize("option", ["--role", "--engine", "--validator", "--output", "--idx", "--kb"])
def test_a_key_with_a_space_is_refused_from_an_option_too(routable: Work, option: str) -> None:
    result = routable.run("route", option, "a b")
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit)


def test_a_file_on_the_no_go_list_stops_the_pass_when_it_has_changed(routable: Work) -> None:
    routable.write("deploy/prod.yaml", "replicas: 3\n")
    routable.done("route", "--engine", "K", "--validator", "V", "--no-go", "deploy/**")
    routable.done("engine", "K", "--run", "--", "sh", "-c", "echo replicas: 4 > deploy/prod.yaml")
    routable.done("check", "V", "--", "true")
    routable.done("report")
    routable.refused("result", "pass", "--done", says=["deploy/prod.yaml", "NO_GO_LIST"])
    routable.write("deploy/prod.yaml", "replicas: 3\n")
    routable.refused("result", "pass", "--done", "--changed", "deploy/prod.yaml", says=["deploy/prod.yaml"])
    routable.done("result", "pass", "--done")
