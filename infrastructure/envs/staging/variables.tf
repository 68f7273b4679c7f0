# terraform.tfvars holds what differs between installations, main.tf what describes the environment.

variable "bucket_prefix" {
  description = "Prefix of all bucket names, such as \"my-project-\". Use the same value as in bootstrap."
  type        = string
  default     = ""
}

variable "deletion_protection" {
  description = "false lets `terraform destroy` delete the service, the tables and the buckets with their objects."
  type        = bool
  default     = true
}

variable "image" {
  description = "The first image, as HOST/PROJECT/REPOSITORY/NAME@sha256:DIGEST; ignored after the first apply."
  type        = string
}

variable "location" {
  description = "Where your tables lie: \"US\", \"EU\" or a region; null for the service's region. It cannot be changed later."
  type        = string
  default     = null
}

variable "project" {
  description = "The id of the environment's project."
  type        = string
}

variable "region" {
  description = "The region of the service and its data."
  type        = string
  default     = "us-central1"
}
