# Development: as small as it gets, and open to everybody in the sense that anybody may watch as anybody.
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
    key          = "streamgate/dev.tfstate"
    region       = "us-east-1"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = "us-east-1"

  default_tags {
    tags = { Stack = "streamgate-dev", Environment = "dev" }
  }
}

module "streamgate" {
  source = "../.."

  name             = "streamgate-dev"
  hosted_zone_name = "example.com"
  domain_name      = "gate-dev.example.com"

  source_repository = "example/streamgate"
  source_branch     = "develop"

  stream_origin = "https://media.example.com/{stream_id}/index.m3u8"
  auth_mode     = "none"

  # One task, one Redis without a replica, no firewall and no alarms: about 50 dollars a month instead of 85.
  min_tasks             = 1
  max_tasks             = 2
  redis_nodes_per_shard = 1
  spot_percentage       = 100
  firewall_enabled      = false
  alarms_enabled        = false
  log_retention_days    = 7
}

output "stack" {
  description = "Everything that the commands of README.md ask for."
  value       = module.streamgate
}
