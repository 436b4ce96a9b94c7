# Production: a thin root around the module. Edit the values, which belong in the repository; secrets are none of them.
terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100.0, < 6.0.0"
    }
  }

  # The state holds secrets. The bucket is made once, by hand: ../../README.md.
  backend "s3" {
    bucket       = "example-terraform-state"
    key          = "streamgate/prod.tfstate"
    region       = "us-east-1"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = "us-east-1"

  default_tags {
    tags = { Stack = "streamgate", Environment = "prod" }
  }
}

module "streamgate" {
  source = "../.."

  name             = "streamgate"
  hosted_zone_name = "example.com"
  domain_name      = "gate.example.com"

  source_repository            = "example/streamgate"
  deployment_approval_required = true
  # staging_stack              = "streamgate-staging"

  stream_origin = "https://media.example.com/{stream_id}/index.m3u8"
  auth_mode     = "jwt"
  auth_jwks_url = "https://issuer.example.com/keys"
  auth_issuer   = "https://issuer.example.com"
  auth_audience = "streamgate"

  alarm_emails          = ["streamgate-operators@example.com"]
  metrics_agent_enabled = true
  deletion_protection   = true
}

output "stack" {
  description = "Everything that the commands of README.md ask for."
  value       = module.streamgate
}
