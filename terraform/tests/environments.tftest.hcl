# The roots in environments/ are enough to apply the module.

mock_provider "aws" {
  source = "./tests/mocks"
}

run "dev" {
  command = plan

  module {
    source = "./environments/dev"
  }

  assert {
    condition     = output.stack.url == "https://gate-dev.example.com"
    error_message = "The root does not hand on the outputs of the module."
  }
}

run "prod" {
  command = plan

  module {
    source = "./environments/prod"
  }

  assert {
    condition     = output.stack.url == "https://gate.example.com" && output.stack.pipeline_name == "streamgate"
    error_message = "The root does not hand on the outputs of the module."
  }
}
