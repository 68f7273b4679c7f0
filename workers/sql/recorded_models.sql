-- The registry's rows of one model version (the parameter key is "name/version"), or of all ("").
SELECT
  CONCAT(model_name, '/', model_version) AS key,
  gcs_uri,
  generation,
  metadata_generation,
  signature_generation,
  contract_generation,
  verified_with
FROM model_registry
WHERE @key = '' OR CONCAT(model_name, '/', model_version) = @key
