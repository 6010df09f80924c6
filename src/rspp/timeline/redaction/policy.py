"""What may be kept of each class of payload at each level, and which kinds of data are looked for: a file says so.

    text_raw:  {L0: drop, L1: mask, L2: mask}     allow  as it is
    audio_raw: {L0: drop, L1: drop, L2: mask}     mask   but for what is found in it
    kinds: [card, iban, phone, email, ...]        hash   stand-ins of the same shape only
    tenants: {clinic: {text_raw: {L1: hash}}}     drop   nothing at all

A class or level that is not named is as the contract has it, and what the file says is checked as strictly as a pipeline:
a word that is not known refuses the whole file, for a rule that is misspelt is a rule that does not hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from rspp.contract.words import PayloadClass, RecordingLevel
from rspp.timeline.declared import declared, declared_in
from rspp.timeline.redaction.patterns import KINDS

POLICY_VERSION: Final = "redaction/v1"
TENANTS_MAX: Final = 4_096
L0, L1, L2 = RecordingLevel.L0, RecordingLevel.L1, RecordingLevel.L2


class Action(StrEnum):
    ALLOW = "allow"
    MASK = "mask"
    HASH = "hash"
    DROP = "drop"


ALLOW, MASK, HASH, DROP = Action.ALLOW, Action.MASK, Action.HASH, Action.DROP
Levels = dict[RecordingLevel, Action]
# The contract's table. L1 has no audio to mask; raw audio at L2 is a policy's to allow.
CONTRACT: Final[Mapping[PayloadClass, Mapping[RecordingLevel, Action]]] = {
    PayloadClass.AUDIO_RAW: {L0: DROP, L1: DROP, L2: MASK},
    PayloadClass.TEXT_RAW: {L0: DROP, L1: MASK, L2: MASK},
    PayloadClass.PII: {L0: HASH, L1: HASH, L2: HASH},
    PayloadClass.PHI: {L0: DROP, L1: HASH, L2: HASH},
    PayloadClass.DERIVED_SUMMARY: {L0: ALLOW, L1: ALLOW, L2: ALLOW},
    PayloadClass.METADATA: {L0: ALLOW, L1: ALLOW, L2: ALLOW},
}


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one tenant, or everybody, has declared beyond the contract. `speech` is the class of all that is said."""

    speech: PayloadClass = PayloadClass.TEXT_RAW
    audio_raw: Levels = {}
    text_raw: Levels = {}
    PII: Levels = {}
    PHI: Levels = {}
    kinds: tuple[str, ...] | None = None


class RedactionPolicy(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The rules of a runtime: for everybody, and for tenants of their own."""

    name: str = "contract"
    everybody: Rules = Rules()
    tenants: dict[str, Rules] = {}

    def __post_init__(self) -> None:
        if len(self.tenants) > TENANTS_MAX:
            raise ValueError(f"at most {TENANTS_MAX} tenants")
        for rules in (self.everybody, *self.tenants.values()):
            _check(rules)

    @property
    def policy_id(self) -> str:
        """The name, and a sum over all that it says: two policies with one id have the same rules."""
        data = msgspec.json.encode([POLICY_VERSION, self], order="deterministic")
        return f"{self.name}@{hashlib.sha256(data).hexdigest()[:16]}"

    def action(self, tenant: str, payload_class: PayloadClass, level: RecordingLevel) -> Action:
        """What is done with payloads of a class at a level: the tenant's rule, else everybody's, else the contract's."""
        for rules in (self.tenants.get(tenant), self.everybody):
            said: Levels = getattr(rules, payload_class.value, {}) if rules is not None else {}
            if level in said:
                return said[level]
        return CONTRACT[payload_class][level]

    def texts(self, tenant: str, level: RecordingLevel) -> Action:
        """What is done with what is said and typed, which a tenant may have declared to be personal as a whole."""
        rules = self.tenants.get(tenant)
        declared = (rules or self.everybody).speech
        return self.action(tenant, declared, level)

    def kinds(self, tenant: str) -> tuple[str, ...]:
        for rules in (self.tenants.get(tenant), self.everybody):
            if rules is not None and rules.kinds is not None:
                return rules.kinds
        return KINDS


def _check(rules: Rules) -> None:
    for kind in rules.kinds or ():
        if kind not in KINDS:
            raise ValueError(f"unknown kind of data {kind!r}; there are {', '.join(KINDS)}")
    if rules.speech not in (PayloadClass.TEXT_RAW, PayloadClass.PII, PayloadClass.PHI):
        raise ValueError("speech is text_raw, PII or PHI")
    if any(action is not DROP for action in (rules.audio_raw.get(L0, DROP), rules.audio_raw.get(L1, DROP))):
        raise ValueError("audio is kept at L2 only")
    if rules.audio_raw.get(L2) is HASH:
        raise ValueError("audio at L2 is dropped, masked or allowed")
    if rules.text_raw.get(L0, DROP) not in (DROP, HASH):
        raise ValueError("no text is kept at L0")


def policy_of(data: bytes | str, source: str = "policy") -> RedactionPolicy:
    """A policy from the text of a YAML or JSON file; raises MisuseError if it is not one."""
    return declared(data, RedactionPolicy, "redaction_policy_invalid", source)


def load(path: Path) -> RedactionPolicy:
    return declared_in(path, RedactionPolicy, "redaction_policy_invalid")
