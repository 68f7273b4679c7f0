# Google's answers that the tests read.
mock_data "google_project" {
  defaults = {
    number = "123456789012"
  }
}

mock_data "google_storage_project_service_account" {
  defaults = {
    email_address = "service-123456789012@gs-project-accounts.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.runtime
  values = {
    email  = "runtime@example-dev.iam.gserviceaccount.com"
    member = "serviceAccount:runtime@example-dev.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.console
  values = {
    email  = "console@example-dev.iam.gserviceaccount.com"
    member = "serviceAccount:console@example-dev.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.push
  values = {
    email  = "push@example-dev.iam.gserviceaccount.com"
    member = "serviceAccount:push@example-dev.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.scheduler
  values = {
    email  = "scheduler@example-dev.iam.gserviceaccount.com"
    member = "serviceAccount:scheduler@example-dev.iam.gserviceaccount.com"
  }
}
