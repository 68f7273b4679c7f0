# What differs between installations: terraform.tfvars. What the environment is: main.tf.

variable "bucket_prefix" {
  description = "What stands before the buckets' names, as \"my-project-\"; the same as in bootstrap."
  type        = string
  default     = ""
}

variable "deletion_protection" {
  description = "false lets `terraform destroy` delete the service, the tables and what the buckets hold."
  type        = bool
  default     = true
}

variable "image" {
  description = "The first image, HOST/PROJECT/REPOSITORY/NAME@sha256:DIGEST; not looked at later."
  type        = string
}

variable "project" {
  description = "The environment's project, by its id."
  type        = string
}

variable "region" {
  description = "The region of the service and its data."
  type        = string
  default     = "us-central1"
}
