-- The history of one alias, the latest first; evidence as text.
-- after: valid_from of the last row of the page before; a later time for the first one.
SELECT * EXCEPT (evidence), TO_JSON_STRING(evidence) AS evidence
FROM model_alias_history
WHERE model_name = @model AND alias = @alias AND valid_from < @after
ORDER BY valid_from DESC
LIMIT @limit
