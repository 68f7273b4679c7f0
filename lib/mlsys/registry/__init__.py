"""Model versions in the environments' registries: their rows, and their promotion."""
