terraform {
  # 1.9 checks one input against another; 1.11 locks a state in S3 without a table.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }

  # Bucket, key and region are yours: backend.hcl, from backend.hcl.example.
  backend "s3" {
    encrypt      = true # The state holds secrets.
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = merge({ Stack = var.name }, var.tags)
  }
}

data "aws_caller_identity" "current" {}
