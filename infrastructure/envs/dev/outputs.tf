output "mlsys" {
  description = "What a person needs next: the service's address, bucket, dataset and topic."
  value       = module.mlsys
}
