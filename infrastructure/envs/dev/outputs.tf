output "mlsys" {
  description = "The service's URL, bucket, dataset and topic."
  value       = module.mlsys
}
