"""``dispatch verify``: where registry and workers disagree; exit code 1 stops a pipeline."""

from __future__ import annotations

import argparse
import re
import textwrap
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dispatch import contract
from dispatch.contract import Finding, Report
from dispatch.core.sentences import count
from dispatch.management.subcommands import Options, Subparsers, add_database, set_run
from dispatch.management.subcommands.operator_input import read_manifest
from dispatch.management.subcommands.output import paragraphs, shown, write
from dispatch.triggers.code_triggers import task_uses

WIDTH = 110
INDENT = " " * 6
COMMAND = re.compile(r"`[^`]+`")
GLUE = "\N{NO-BREAK SPACE}"
UNUSABLE = 2
IDS = {kind.id for kind in contract.KINDS}


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "verify", help="compare the registry with the workers; exit 1 where they disagree"
    )
    parser.add_argument(
        "--manifest",
        action="append",
        default=[],
        metavar="FILE",
        help="a worker's manifest, in place of the one imported last; may be repeated, - for standard input",
    )
    parser.add_argument("--live", action="store_true", help="ask the brokers and the running workers too")
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        type=_ignorable,
        metavar="ID[:SUBJECT]",
        help="leave out findings of this kind, or this one; may be repeated",
    )
    parser.add_argument("--strict", action="store_true", help="let warnings fail too")
    add_database(parser)
    set_run(parser, run)
    parser.set_defaults(unusable=UNUSABLE)


def run(command: BaseCommand, options: Options) -> None:
    """Print what was found. Exit 0 without drift, 1 with, 2 for a manifest that cannot be read."""
    report = contract.verify(
        options["database"],
        [(name, read_manifest(name, returncode=UNUSABLE)) for name in options["manifest"]],
        code=task_uses(),
        live=options["live"],
        ignore=frozenset(options["ignore"]),
    )
    fails = bool(report.errors or (options["strict"] and report.warnings))
    write(command, options, _document(report, fails=fails), _lines(report))
    if fails:
        raise CommandError(f"Registry and workers disagree: {_counts(report)}.")
    if options["format"] == "text":
        command.stdout.write(f"Registry and workers agree: {_counts(report)}.")


def _ignorable(text: str) -> str:
    if text.partition(":")[0] not in IDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no finding: docs/reference/verify.md lists their ids.")
    return text


def _document(report: Report, *, fails: bool) -> dict[str, Any]:
    return {
        "ok": not fails,
        "errors": report.errors,
        "warnings": report.warnings,
        "ignored": report.ignored,
        "compared": list(report.compared),
        "findings": [asdict(finding) for finding in report.findings],
    }


def _lines(report: Report) -> list[str]:
    compared = ["Compared with:", *(f"  {label}" for label in report.compared)] if report.compared else []
    parts = [part for part in (compared, *map(_block, report.findings)) if part]
    return [*paragraphs(parts), ""]


def _block(finding: Finding) -> list[str]:
    heading = f"{finding.id}  {finding.severity:<8} {finding.subject}"
    return [heading, *_indented(finding.sentence), *_indented(f"→ {finding.remedy}")]


def _indented(text: str) -> list[str]:
    """Wrap a text between words; names stay whole, and so do commands, to be copied."""
    wrapper = textwrap.TextWrapper(
        WIDTH,
        initial_indent=INDENT,
        subsequent_indent=INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    whole = COMMAND.sub(lambda found: found[0].replace(" ", GLUE), shown(text))
    return [line.replace(GLUE, " ") for line in wrapper.wrap(whole)]


def _counts(report: Report) -> str:
    parts = [count(report.errors, "error"), count(report.warnings, "warning")]
    parts += [f"{report.ignored} ignored"] if report.ignored else []
    return ", ".join(parts)
