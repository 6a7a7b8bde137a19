"""``dispatch verify``: where registry and workers disagree; exit code 1 stops a pipeline."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dispatch import contract, registry
from dispatch.contract import Finding, Report, TaskUse
from dispatch.core.routing import Target
from dispatch.management.subcommands import NO_TABLES, Options, Subparsers, add_database
from dispatch.management.subcommands.operator_input import read_manifest
from dispatch.management.subcommands.output import add_format, shown, write_json
from dispatch.triggers.code_triggers import declared

WIDTH = 110
INDENT = " " * 6
COMMAND = re.compile(r"`[^`]+`")
GLUE = "\N{NO-BREAK SPACE}"
UNUSABLE = 2
IDS = {kind.id for kind in contract.KINDS}


def add(subparsers: Subparsers) -> None:
    """Add the parser."""
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
    add_format(parser)
    parser.set_defaults(run=run)


def run(command: BaseCommand, options: Options) -> None:
    """Print what was found. Exit 0 without drift, 1 with, 2 for a manifest that cannot be read."""
    if not registry.has_tables(options["database"]):
        raise CommandError(NO_TABLES, returncode=UNUSABLE)
    report = contract.verify(
        options["database"],
        [(name, read_manifest(name, returncode=UNUSABLE)) for name in options["manifest"]],
        code=_in_code(),
        live=options["live"],
        ignore=frozenset(options["ignore"]),
    )
    fails = bool(report.errors or (options["strict"] and report.warnings))
    if options["format"] == "json":
        write_json(command, _document(report, fails=fails))
    else:
        command.stdout.write(_text(report))
    if fails:
        command.stdout.flush()  # into a file or a pipe, as in CI, the last line would come first
        raise CommandError(f"Registry and workers disagree: {_counts(report)}.")
    if options["format"] == "text":
        command.stdout.write(f"Registry and workers agree: {_counts(report)}.")


def _ignorable(text: str) -> str:
    if text.partition(":")[0] not in IDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no finding: docs/reference/verify.md lists their ids.")
    return text


def _in_code() -> Iterator[TaskUse]:
    for trigger in declared.values():
        chosen = {key: trigger.options.get(key) for key in ("queue", "exchange", "routing_key")}
        yield TaskUse(f"@trigger {trigger.name}", trigger.name, trigger.task, Target(**chosen))


def _document(report: Report, *, fails: bool) -> dict[str, Any]:
    return {
        "ok": not fails,
        "errors": report.errors,
        "warnings": report.warnings,
        "ignored": report.ignored,
        "compared": list(report.compared),
        "findings": [asdict(finding) for finding in report.findings],
    }


def _text(report: Report) -> str:
    compared = (
        ["Compared with:", *(f"  {shown(label)}" for label in report.compared)] if report.compared else []
    )
    blocks = ["\n".join(compared), *map(_block, report.findings)]
    return "\n\n".join(block for block in blocks if block) + "\n\n"


def _block(finding: Finding) -> str:
    heading = f"{finding.id}  {finding.severity:<8} {shown(finding.subject)}"
    return "\n".join([heading, _indented(finding.sentence), _indented(f"→ {finding.remedy}")])


def _indented(text: str) -> str:
    """Wrap a text between words; names stay whole, and so do commands, to be copied."""
    wrapper = textwrap.TextWrapper(
        WIDTH,
        initial_indent=INDENT,
        subsequent_indent=INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    whole = COMMAND.sub(lambda found: found[0].replace(" ", GLUE), shown(text))
    return "\n".join(wrapper.wrap(whole)).replace(GLUE, " ")


def _counts(report: Report) -> str:
    parts = [_count(report.errors, "error"), _count(report.warnings, "warning")]
    parts += [f"{report.ignored} ignored"] if report.ignored else []
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
