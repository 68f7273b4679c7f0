"""The commands of docs/deploying.md are valid shell, and the names in it exist."""

import re
import subprocess

import pytest

from terraform_cases import INFRASTRUCTURE, MODULE, ROOT, files_of

GUIDE = ROOT / "docs" / "deploying.md"
TEXT = GUIDE.read_text()


def declared(kind: str, root: str) -> set[str]:
    """Return the variables or outputs of a root."""
    texts = files_of(INFRASTRUCTURE / root).values()
    return {name for text in texts for name in re.findall(rf'^{kind} "(\w+)"', text, re.M)}


def test_the_shell_blocks_are_valid_shell() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) >= 8
    for block in blocks:
        done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr


def test_the_links_have_targets() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)
    assert links
    assert not [link for link in links if not (GUIDE.parent / link).exists()]
    folders = set(re.findall(r"infrastructure/(?:bootstrap|envs/\w+)", TEXT))
    assert not [folder for folder in folders if not (ROOT / folder).is_dir()]


@pytest.mark.parametrize("root", ["bootstrap", "envs/dev"])
def test_every_variable_without_a_default_is_set(root: str) -> None:
    written = re.search(rf"{root}/terraform.tfvars <<END\n(.*?)^END", TEXT, re.M | re.S)
    assert written
    filled = set(re.findall(r"^(\w+) +=", written[1], re.M))
    variables = (INFRASTRUCTURE / root / "variables.tf").read_text()
    blocks = re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', variables, re.M | re.S)
    needed = {name for name, body in blocks if "default" not in body}
    assert needed <= filled <= declared("variable", root)


def test_only_existing_outputs_and_variables_are_used() -> None:
    outputs = set(re.findall(r"bootstrap output -(?:raw|json) (\w+)", TEXT))
    assert outputs and outputs <= declared("output", "bootstrap")
    of_module = set(re.findall(r"output -json mlsys \| jq -r \.(\w+)", TEXT))
    module = declared("output", str(MODULE.relative_to(INFRASTRUCTURE)))
    assert of_module and of_module <= module
    passed = set(re.findall(r"-var=(\w+)=", TEXT))
    assert passed and passed <= declared("variable", "envs/dev")
    budget, *examples = re.findall(r"```hcl\n(.*?)```", TEXT, re.S)
    assert set(re.findall(r"^(\w+)", budget, re.M)) <= declared("variable", "bootstrap")
    main = (INFRASTRUCTURE / "envs/dev/main.tf").read_text()
    names = re.findall(r"^(\w+)", "\n".join(examples), re.M)
    assert {"invokers", "alias_guards"} <= set(names)
    assert all(f"  {name} " in main for name in names)
