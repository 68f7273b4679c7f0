-- The registry's verdict on one model version.
SELECT generation, status, status_reason
FROM model_registry
WHERE model_name = @model AND model_version = @version
