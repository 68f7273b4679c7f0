-- What aliases name now, of one model or of all (model ''); broken ones first.
SELECT model_name, alias, version, broken
FROM model_alias_history
WHERE valid_to IS NULL AND (@model = '' OR model_name = @model)
ORDER BY broken DESC, model_name, alias
LIMIT @limit
