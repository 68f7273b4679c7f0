"""`mlsys sign`: create a key, and sign models in the bucket."""

from __future__ import annotations

import argparse
from typing import Any

from mlsys.settings import ENVS


def add_to(commands: Any) -> None:
    """Add the command to the parser's others."""
    sign = commands.add_parser("sign", help="sign models, for a service that requires it")
    verbs = sign.add_subparsers(metavar="COMMAND", required=True)
    new = verbs.add_parser(
        "new-key",
        help="write a private key, and print the public one",
        description="Write a new Ed25519 private key to FILE and print its public key: the value "
        "of MLSYS_MODEL_SIGNING_KEY.",
    )
    new.set_defaults(run=_new_key)
    new.add_argument("file", metavar="FILE", help="where the private key goes; not overwritten")
    model = verbs.add_parser("model", help="sign a model that is in the bucket")
    model.set_defaults(run=_model)
    model.add_argument("name", help="the model, such as titanic-survival")
    model.add_argument("version", help="v1, v2, ...")
    model.add_argument("--env", required=True, choices=ENVS, help="the environment")
    model.add_argument("--key", required=True, metavar="FILE", help="the private key, PEM")


def _new_key(options: argparse.Namespace) -> int:
    from mlsys.artifact.signing import new_key

    print(new_key(options.file))
    return 0


def _model(options: argparse.Namespace) -> int:
    from mlsys.models import ModelRef, sign_model

    ref = ModelRef(options.name, options.version)
    print(f"signed: {sign_model(ref, options.env, options.key)}")
    return 0
