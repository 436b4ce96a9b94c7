# With terraform.tfvars.example alone for inputs, which is why it lies apart from the other tests and their tfvars.

mock_provider "aws" {
  source = "./tests/mocks"
}

run "the_example_is_enough" {
  command = plan

  assert {
    condition     = output.url == "https://gate.example.com"
    error_message = "The inputs are not those of terraform.tfvars.example."
  }
}
