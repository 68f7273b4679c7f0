-- The history of one alias, the latest first; evidence as text.
SELECT * EXCEPT (evidence), TO_JSON_STRING(evidence) AS evidence
FROM model_alias_history
WHERE model_name = @model AND alias = @alias
ORDER BY valid_from DESC
LIMIT @limit
