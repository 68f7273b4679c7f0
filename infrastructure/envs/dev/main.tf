terraform {
  required_version = ">= 1.10"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }

  backend "gcs" {
    bucket = "mlsys-terraform-state-dev"
    prefix = "mlsys"
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

module "mlsys" {
  source = "../../modules/mlsys"

  env                 = "dev"
  project             = var.project
  region              = var.region
  location            = var.location
  bucket_prefix       = var.bucket_prefix
  image               = var.image
  deletion_protection = var.deletion_protection

  cpu           = 2
  memory        = "2Gi"
  max_instances = 5

  # The environment's people and data. Edit them here, so each change is reviewed.
  invokers              = []
  console_users         = []
  model_readers         = [] # mlsys-deploy-staging promotes from here
  model_writers         = []
  input_datasets        = []
  output_datasets       = []
  notification_channels = []
  alert_emails          = []
  scheduled_predictions = {}
  alias_guards          = {} # who may move an alias such as champion, and on what evidence
}
