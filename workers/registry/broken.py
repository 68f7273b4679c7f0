"""Aliases by which nothing can be scored: what they name is gone, or is not what was judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlsys.artifact.refs import ModelRef
from mlsys.cloud.clients import Clients
from workers.registry.alias_history import AliasRow
from workers.registry.moves import generation_in
from workers.registry.rows import list_objects


def broken(clients: Clients, env: str, rows: Iterable[AliasRow]) -> dict[str, str]:
    """Return why runs by an alias fail, by the row's name, for those of `rows` by which they do.

    `rows` are what aliases name now; of one model, or of many.

    Raises:
        ObjectNotFound: the environment's models bucket does not exist.
    """
    rows = list(rows)
    models = {row.model_name for row in rows}
    prefix = f"{models.pop()}/" if len(models) == 1 else ""
    objects, _ = list_objects(clients, env, prefix) if rows else ({}, {})
    generations = {key: int(each.model.generation or 0) for key, each in objects.items()}
    why = {row.name: _why(clients, env, row, generations) for row in rows}
    return {name: text for name, text in why.items() if text is not None}


def _why(clients: Clients, env: str, row: AliasRow, generations: Mapping[str, int]) -> str | None:
    if row.version is None:
        return row.problem or "it names no version"
    ref = ModelRef(row.model_name, row.version)
    generation = generations.get(str(ref))
    if generation is None:
        versions = [ModelRef(*key.split("/")) for key in generations]
        of_model = [each for each in versions if each.name == ref.name]
        known = ", ".join(v.version for v in sorted(of_model, key=lambda v: -v.number)[:20])
        return f"{ref.path} does not exist: it has {known or 'no version'}"
    judged = generation_in(row.evidence) if isinstance(row.evidence, Mapping) else None
    guard = clients.settings.alias_guard(env, row.model_name, row.alias)
    if guard is not None and judged not in (None, generation):
        return f"{ref.path} was uploaded again after its guard judged it"
    return None
