"""What must not be said is found in a text, however the text is cut: personal data by its form and its check digits.

A form alone would take every long number for a card; so a card must pass Luhn's check, an account number its own, and a
telephone number must be written like one. `open_from` says from where on a match could still grow out of what comes next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

# From where a number may still grow: digits with what people write between them.
OPEN_NUMBER: Final = re.compile(r"[+(\d][\d\s.\-()/]{0,128}\Z")
# A whole run of numbers, which is never divided: where one number ends in it, and the next begins, takes all of it to say.
RUN: Final = re.compile(r"[+(\d][\d\s.\-()/]{0,128}")
# An account or insurance number begins with letters, and has gaps.
OPEN_CODE: Final = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{2}(?:(?:\s?[0-9]{1,2}){0,3}\s?[A-Da-d]?|[0-9]{1,2}(?:\s?[A-Za-z0-9]){0,34}\s?)\Z"
)


def luhn(digits: str) -> bool:
    """Luhn's check: every second digit from the right counts double, and the sum ends in 0."""
    total = 0
    for place, character in enumerate(reversed(digits)):
        digit = int(character) * (1 + place % 2)
        total += digit - 9 if digit > 9 else digit
    return total % 10 == 0


def _digits(text: str) -> str:
    return "".join(character for character in text if character in "0123456789")


def _is_card(text: str) -> bool:
    return luhn(_digits(text)) and len(set(_digits(text))) > 1


def _is_iban(text: str) -> bool:
    """ISO 7064: the first four characters last, letters as numbers, and the whole leaves 1 when divided by 97."""
    plain = re.sub(r"\s", "", text).upper()
    number = "".join(str(int(character, 36)) for character in plain[4:] + plain[:4])
    return 15 <= len(plain) <= 34 and int(number) % 97 == 1


def _is_phone(text: str) -> bool:
    """Between 7 and 15 digits, and written as telephone numbers are: with a plus, a leading 0 or (, or as 3-3-4."""
    digits = _digits(text)
    groups = re.findall(r"[0-9]+", text)
    return 7 <= len(digits) <= 15 and (
        text[0] in "+("
        or re.match("0(?!00)", text) is not None
        or [len(group) for group in groups] in ([3, 3, 4], [1, 3, 3, 4], [3, 4])
    )


def _always(text: str) -> bool:
    return bool(text)


# In this order: what one form has taken, the next does not see.
FORMS: Final[Mapping[str, tuple[re.Pattern[str], Callable[[str], bool]]]] = {
    "email": (
        re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"),
        _always,
    ),
    "iban": (
        re.compile(
            r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:\s?[A-Za-z0-9]{4}){2,7}(?:\s?[A-Za-z0-9]{1,3})?(?![A-Za-z0-9])"
        ),
        _is_iban,
    ),
    "card": (re.compile(r"(?<![0-9])[0-9](?:[\s-]?[0-9]){12,18}(?![0-9])"), _is_card),
    "national_id": (
        # The American and the British ones.
        re.compile(
            r"(?<![0-9-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![0-9-])"
            r"|(?<![A-Za-z0-9])[A-CEGHJ-PR-TW-Za-ceghj-pr-tw-z][A-CEGHJ-NPR-TW-Za-ceghj-npr-tw-z]"
            r"\s?[0-9]{2}\s?[0-9]{2}\s?[0-9]{2}\s?[A-Da-d](?![A-Za-z0-9])"
        ),
        _always,
    ),
    "phone": (
        re.compile(r"(?<![\w+])\+?\(?[0-9](?:[\s./()-]{0,3}[0-9]){6,14}(?!\w)"),
        _is_phone,
    ),
}


class Redactor:
    """Takes personal data of the named kinds out of texts."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self._forms = [(kind, *FORMS[kind]) for kind in FORMS if kind in kinds]

    def __bool__(self) -> bool:
        return bool(self._forms)

    def open_from(self, text: str) -> int:
        """The place from which on something could still become, or stop being, personal data."""
        if not self._forms:
            return len(text)
        found = (pattern.search(text) for pattern in (OPEN_NUMBER, OPEN_CODE))
        return min((match.start() for match in found if match), default=len(text))

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where it is, where it would be but for its check, and where numbers stand side by side."""
        for pattern in (RUN, *(pattern for _, pattern, _ in self._forms)):
            for match in pattern.finditer(text):
                yield match.span()

    def apply(self, text: str, instead: Callable[[str], str]) -> tuple[str, dict[str, int]]:
        """The text with something else in place of each finding, and how many there were of each kind."""
        found: dict[str, int] = {}
        for kind, pattern, holds in self._forms:
            kept: list[str] = []
            end = 0
            for start, after in _findings(text, pattern, holds):
                kept += [text[end:start], instead(kind)]
                found[kind] = found.get(kind, 0) + 1
                end = after
            text = "".join(kept) + text[end:]
        return text, found


def found_in(text: str, kinds: Sequence[str] = tuple(FORMS)) -> Iterator[tuple[int, int, str]]:
    """Where personal data of these kinds stands in a text, and of which kind; no two places overlap."""
    for kind, (pattern, holds) in FORMS.items():
        if kind in kinds:
            for start, end in list(_findings(text, pattern, holds)):
                yield start, end, kind
                text = text[:start] + "\0" * (end - start) + text[end:]


def _findings(text: str, pattern: re.Pattern[str], holds: Callable[[str], bool]) -> Iterator[tuple[int, int]]:
    """Where a form stands whose check holds. What looks like one long number may be two with a space between them, so a
    candidate that fails is tried without its last words, and then without its first.
    """
    at = 0
    while (match := pattern.search(text, at)) is not None:
        start, end = match.span()
        while end > start and not (pattern.fullmatch(text, start, end) and holds(text[start:end])):
            end = _last_space(text, start, end)
        if end > start:
            yield start, end
            at = end
            continue
        space = re.compile(r"\s").search(text, start, match.end())
        at = space.end() if space is not None else match.end()


def _last_space(text: str, start: int, end: int) -> int:
    """Where the words before the last one end; `start` if there is only one."""
    head = text[start:end].rstrip()
    cut = max((place for place, character in enumerate(head) if character.isspace()), default=0)
    return start + len(head[:cut].rstrip())
