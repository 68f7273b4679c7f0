"""The pages, each in the module of its name. A view only reads, but for those of `POST`."""

MODULES = (
    *("assets", "overview", "models", "versions", "compare", "runs", "progress", "drift"),
    *("new_run", "cancel", "set_alias", "table", "health", "quarantine", "rescan"),
    *("backfill", "costs", "undo"),
)
