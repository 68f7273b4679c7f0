-- Which version each alias named, and when: from valid_from until before valid_to, NULL if it still does.
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
  evidence,
  source,
  generation
FROM (
  SELECT
    *,
    moved_at AS valid_from,
    LEAD(moved_at) OVER (PARTITION BY model_name, alias ORDER BY moved_at) AS valid_to
  FROM `${dataset}.model_aliases`
) AS rows_in_order
WHERE version IS NOT NULL
