"""What came of a suite, for a person, and as the report that build servers read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

import click

from rspp.cli.conformance.ports import PORTS, Port, names_of
from rspp.cli.output import print_table, visible
from rspp.testing.conformance.certificate import LOADED, CertificateV1
from rspp.testing.conformance.checks import Result

SAYS: Final = {
    "passed": "passed",
    "failed": "FAILED",
    "not_run": "not run",
    "not_applicable": "does not apply",
    "omitted": "OMITTED",
}
OUTPUT_CHARACTERS_SHOWN: Final = 1_500


def show(certificate: CertificateV1, output: str) -> None:
    """A line for each category, each check that did not pass with its reason, and the verdict."""
    print_table(
        ("category", "", "verdict", "passed", "failed", "not run", "n/a"),
        [
            (
                name,
                "mandatory" if one.mandatory else "",
                SAYS[one.verdict],
                one.passed,
                one.failed or "",
                one.not_run or "",
                one.not_applicable or "",
            )
            for name, one in certificate.categories.items()
        ],
        numbers=("passed", "failed", "not run", "n/a"),
    )
    for one in certificate.checks:
        if one.verdict in ("failed", "not_applicable"):
            click.echo(visible(f"\n{one.category}: {one.name}: {SAYS[one.verdict]}\n  {one.reason}"))
    if output.strip() and not certificate.certified:
        click.echo(f"\nthe end of what it printed:\n{visible(output[-OUTPUT_CHARACTERS_SHOWN:])}")
    for departs in certificate.profile.departs:
        click.echo(f"\nnot of the standard profile: {departs}")
    click.echo(f"\n{verdict(certificate)}")


def verdict(certificate: CertificateV1) -> str:
    """The last line."""
    target = certificate.target
    named = f"{target.made or target.named} ({certificate.port})"
    if certificate.certified:
        return visible(
            f"certified: {named}, {len(certificate.checks)} checks, source {target.sha256[:16] or 'unknown'}"
        )
    failed = sum(one.verdict == "failed" for one in certificate.checks)
    missing = ", ".join(certificate.missing) or "none"
    return visible(
        f"not certified: {named}; {failed} failed; mandatory categories that did not pass: {missing}"
    )


def progress(result: Result) -> str:
    """A line for each check as it comes."""
    return visible(f"{SAYS[result.verdict]:>14}  {result.category}: {result.name}")


def junit(certificate: CertificateV1) -> bytes:
    """The checks as test cases."""
    checks = certificate.checks
    failed = sum(one.verdict == "failed" for one in checks)
    suite = ET.Element(
        "testsuite",
        name=f"rspp conformance {certificate.port}",
        tests=str(len(checks)),
        failures=str(failed),
        errors="0",
        skipped=str(sum(one.verdict in ("not_run", "not_applicable") for one in checks)),
        time=str(certificate.run.seconds),
        timestamp=certificate.run.at,
    )
    for one in checks:
        case = ET.SubElement(suite, "testcase", classname=f"{certificate.port}.{one.category}", name=one.name)
        if one.verdict == "failed":
            ET.SubElement(case, "failure", message=_plain(one.reason))
        elif one.verdict != "passed":
            ET.SubElement(case, "skipped", message=_plain(one.reason))
    root = ET.Element("testsuites")
    root.append(suite)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _plain(text: str) -> str:
    """Without what XML has no place for."""
    return "".join(one if one.isprintable() or one in "\n\t" else "?" for one in text)


def listed(ports: Sequence[Port] = ()) -> list[dict[str, object]]:
    """Every port with its categories, which of them are mandatory, and what each check says."""
    rows: list[dict[str, object]] = []
    for port in ports or tuple(PORTS.values()):
        checks: dict[str, list[str]] = {}
        for category, name in names_of(port.name, port.options):
            checks.setdefault(category, []).append(name)
        rows.append(
            {
                "port": port.name,
                "summary": port.summary,
                "target": port.target,
                "example": port.example,
                "mandatory": list(port.mandatory),
                "categories": checks,
            }
        )
    return rows


def show_ports(ports: Sequence[Port] = ()) -> None:
    """The same for a person."""
    for port in ports or tuple(PORTS.values()):
        click.echo(f"{port.name}: {port.summary}\n  target: {port.target}\n  {port.example}")
        category = ""
        for at, name in names_of(port.name, port.options):
            if at != category and at != LOADED[0]:
                click.echo(f"    {at}{' (mandatory)' if at in port.mandatory else ''}")
            if at != LOADED[0]:
                click.echo(f"      {name}")
            category = at
        click.echo("")
