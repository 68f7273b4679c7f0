"""Read and edit the contract of a model's input from a notebook.

```python
contract = get_contract("titanic-survival", "v1")
contract["clauses"].append(
    {"column": "Age", "check": "in_range", "min_value": 0, "max_value": 120, "action": "reject"}
)
set_contract("titanic-survival", "v1", contract)
```

docs/models.md lists the checks. `mlsys contract` does the same from a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlsys.arguments import check_choice, kind_of
from mlsys.artifact.contract import Contract
from mlsys.artifact.metadata import json_value
from mlsys.artifact.refs import ModelRef
from mlsys.cloud.clients import default_clients
from mlsys.errors import ContractInvalid
from mlsys.registry.contract_file import read_contract_file, write_contract_file
from mlsys.settings import ENVS

__all__ = ["get_contract", "set_contract"]


def get_contract(name: str, version: str, *, env: str = "dev") -> dict[str, Any]:
    """Return the contract of a model version as a dictionary, without clauses if it has none.

    Raises:
        InvalidRequest: a malformed name or version.
        ModelNotFound: the model does not exist.
        ContractInvalid: the file is malformed; `mlsys contract show` prints it.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    ref = ModelRef(name, version)
    check_choice(env, ENVS, "env")
    return Contract.parse(read_contract_file(default_clients(), env, ref).content).to_dict()


def set_contract(name: str, version: str, contract: Mapping[str, Any], *, env: str = "dev") -> int:
    """Replace the contract of a model version, and return the new file's generation.

    Runs that are planned from then on follow it. A later `upload_model` of the version leaves it.

    Raises:
        InvalidRequest: a malformed name or version.
        ContractInvalid: the contract is malformed; the places are named, and nothing was written.
        ModelNotFound: the model does not exist.
        Conflict: somebody else replaced the contract at the same time.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    ref = ModelRef(name, version)
    check_choice(env, ENVS, "env")
    if not isinstance(contract, Mapping):
        raise ContractInvalid(("", f"is {kind_of(contract)}: pass what get_contract returns"))
    content = Contract.parse(json.dumps(json_value(contract)).encode()).content()
    clients = default_clients()
    generation = read_contract_file(clients, env, ref).generation
    return write_contract_file(clients, env, ref, content, generation)
