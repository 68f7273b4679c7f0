-- Which version each alias named, and when: from valid_from until before valid_to, NULL if it still does.
-- broken: it still does, and the version is not in the registry, because its model.pkl was deleted.
-- Terraform and the local stack fill in the dataset.
SELECT
  model_name,
  alias,
  version,
  previous_version,
  valid_from,
  valid_to,
  who,
  why,
  forced,
  guarded,
  evidence,
  source,
  generation,
  valid_to IS NULL AND registered_version IS NULL AS broken
FROM (
  SELECT
    *,
    moved_at AS valid_from,
    LEAD(moved_at) OVER (PARTITION BY model_name, alias ORDER BY moved_at) AS valid_to
  FROM `${dataset}.model_aliases`
) AS rows_in_order
LEFT JOIN (
  SELECT DISTINCT model_name AS registered_name, model_version AS registered_version
  FROM `${dataset}.model_registry`
) AS registered
  ON registered_name = model_name AND registered_version = version
WHERE version IS NOT NULL
