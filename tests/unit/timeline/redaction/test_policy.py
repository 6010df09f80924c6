"""A policy says what the contract says unless a file says otherwise, and a file that is not understood says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from rspp.contract.errors import MisuseError
from rspp.contract.words import PayloadClass, RecordingLevel
from rspp.timeline.redaction.patterns import KINDS
from rspp.timeline.redaction.policy import Action, RedactionPolicy, load, policy_of

L0, L1, L2 = RecordingLevel.L0, RecordingLevel.L1, RecordingLevel.L2
P = PayloadClass


@pytest.mark.parametrize(
    ("payload_class", "actions"),
    [
        (P.AUDIO_RAW, "drop drop mask"),
        (P.TEXT_RAW, "drop mask mask"),
        (P.PII, "hash hash hash"),
        (P.PHI, "drop hash hash"),
        (P.DERIVED_SUMMARY, "allow allow allow"),
        (P.METADATA, "allow allow allow"),
    ],
)
def test_without_a_file_the_contract_holds(payload_class: PayloadClass, actions: str) -> None:
    policy = RedactionPolicy()
    assert [policy.action("t", payload_class, level).value for level in (L0, L1, L2)] == actions.split()
    assert policy.kinds("t") == KINDS


def test_a_tenant_s_rule_goes_before_everybody_s_and_nobody_else_s_changes() -> None:
    policy = policy_of(
        """
name: two
everybody: {text_raw: {L1: hash}, kinds: [card]}
tenants:
  clinic: {speech: PHI, audio_raw: {L2: drop}}
  open: {text_raw: {L1: allow}}
"""
    )
    assert policy.texts("anybody", L1) is Action.HASH
    assert policy.texts("open", L1) is Action.ALLOW
    assert policy.texts("open", L2) is Action.MASK
    assert policy.texts("clinic", L1) is Action.HASH
    assert policy.texts("clinic", L0) is Action.DROP
    assert policy.action("clinic", P.AUDIO_RAW, L2) is Action.DROP
    assert policy.action("open", P.AUDIO_RAW, L2) is Action.MASK
    assert policy.kinds("clinic") == ("card",)


def test_the_id_tells_rules_apart() -> None:
    one, other = policy_of("{name: a}"), policy_of("{name: a, everybody: {kinds: [card]}}")
    assert one.policy_id != other.policy_id
    assert one.policy_id == policy_of('{"name": "a"}').policy_id
    assert one.policy_id.startswith("a@")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "name: 3",
        "{name: a, everbody: {}}",
        "{name: a, everybody: {text_raw: {L1: blur}}}",
        "{name: a, everybody: {text_raw: {L7: mask}}}",
        "{name: a, everybody: {kinds: [card, shoe_size]}}",
        "{name: a, everybody: {audio_raw: {L1: allow}}}",
        "{name: a, everybody: {audio_raw: {L2: hash}}}",
        "{name: a, everybody: {text_raw: {L0: allow}}}",
        "{name: a, everybody: {speech: metadata}}",
        "{name: a, name: b}",
        "{name: !!python/object:os.system a}",
        "name: a\n---\nname: b",
        "{name: a",
        "x: " + "[" * 200,
        "name: " + "a" * 300_000,
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(MisuseError) as refused:
        policy_of(text)
    assert refused.value.code == "redaction_policy_invalid"


def test_a_file_is_read_and_one_that_is_not_there_is_no_default(tmp_path: Path) -> None:
    path = tmp_path / "redaction.yaml"
    with pytest.raises(MisuseError, match="redaction_policy_invalid"):
        load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(MisuseError, match="UTF-8"):
        load(path)
    path.write_text("name: mine\neverybody: {text_raw: {L2: hash}}\n")
    assert load(path).texts("t", L2) is Action.HASH
