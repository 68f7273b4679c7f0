"""`mlsys contract show`, `edit`: the rules that the input of a model version has to meet."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlsys.errors import Conflict, ContractInvalid, InvalidRequest, SettingsError
from mlsys.settings import ENVS


def add_to(commands: Any) -> None:
    """Add the command to the parser's others."""
    contract = commands.add_parser(
        "contract", help="show or edit the rules that the input of a model has to meet"
    )
    verbs = contract.add_subparsers(metavar="COMMAND", required=True)
    showing = verbs.add_parser("show", help="print contract.json of a model version")
    showing.set_defaults(run=_show)
    editing = verbs.add_parser(
        "edit",
        help="edit contract.json of a model version",
        description="Edit contract.json of a model version with $VISUAL or $EDITOR, or replace it "
        "by a file. It is checked before it is written, and not written if somebody else has "
        "replaced it meanwhile. Runs that are planned from then on follow it.",
    )
    editing.set_defaults(run=_edit, stopped="Stopped. Nothing was written.")
    editing.add_argument("--file", metavar="FILE", help="take this file, - for standard input")
    for parser in (showing, editing):
        parser.add_argument("name", help="the model, such as titanic-survival")
        parser.add_argument("version", help="v1, v2, ...")
        parser.add_argument("--env", required=True, choices=ENVS, help="the environment")


def _show(options: argparse.Namespace) -> int:
    from mlsys.artifact.refs import ModelRef
    from mlsys.cloud.clients import default_clients
    from mlsys.registry.contract_file import read_contract_file

    ref = ModelRef(options.name, options.version)
    file = read_contract_file(default_clients(), options.env, ref)
    if not file.generation:
        about = "has no contract"
    else:
        state = "the draft of upload_model" if file.is_draft else "edited"
        about = f"generation {file.generation}, {state}"
    print(f"{ref} in {options.env}: {about}", file=sys.stderr)
    print(file.content.decode(errors="replace"), end="")
    return 0


def _edit(options: argparse.Namespace) -> int:
    from mlsys.artifact.refs import ModelRef
    from mlsys.cloud.clients import default_clients
    from mlsys.registry.contract_file import read_contract_file, write_contract_file

    ref, clients = ModelRef(options.name, options.version), default_clients()
    file = read_contract_file(clients, options.env, ref)
    kept = ""  # where an edited text stays
    if options.file is None:
        content, kept = _edited(file.content, f"{ref.name}-{ref.version}-")
    else:
        content = _read(options.file)
    if content == file.content:
        print("Nothing was changed.", file=sys.stderr)
        return 0
    try:
        generation = write_contract_file(clients, options.env, ref, content, file.generation)
    except (ContractInvalid, Conflict) as exc:
        print(f"mlsys: {exc}", file=sys.stderr)
        if kept:
            print(
                f"Nothing was written. Your text is in {kept}: correct it, and pass --file "
                f"{shlex.quote(kept)}",
                file=sys.stderr,
            )
        return 1
    if kept:
        Path(kept).unlink(missing_ok=True)
    print(f"contract.json of {ref} in {options.env} is generation {generation} now.")
    return 0


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as exc:
        raise InvalidRequest(("file", f"{name!r} cannot be read: {exc.strerror}")) from exc


def _edited(content: bytes, prefix: str) -> tuple[bytes, str]:
    """Return the content as the user's editor left it, and the file that holds it.

    Raises:
        SettingsError: no editor is set, or it failed.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise SettingsError("no editor is set: export EDITOR=nano, or pass --file")
    with tempfile.NamedTemporaryFile(prefix=prefix, suffix=".json", delete=False) as file:
        file.write(content)
    path = Path(file.name)
    try:
        subprocess.run([*shlex.split(editor), str(path)], check=True)
        return path.read_bytes(), str(path)
    except (OSError, ValueError, subprocess.CalledProcessError) as exc:
        path.unlink(missing_ok=True)
        raise SettingsError(f"the editor {editor!r} failed ({exc}): nothing was written") from exc
