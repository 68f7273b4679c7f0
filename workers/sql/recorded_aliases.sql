-- The log's rows of one alias, of one model's aliases (alias ''), or of all ('' and '').
SELECT
  model_name,
  alias,
  environment,
  version,
  previous_version,
  who,
  why,
  forced,
  TO_JSON_STRING(evidence) AS evidence,
  moved_at,
  generation,
  previous_generation,
  deleted,
  source,
  move_id,
  problem,
  learnt_by,
  guarded
FROM model_aliases
WHERE (@model = '' OR model_name = @model) AND (@alias = '' OR alias = @alias)
