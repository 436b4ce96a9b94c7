# A module: it configures no provider and no backend. The roots that apply it are in environments/.
terraform {
  # Version 1.9 lets the validation of one variable read another variable.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # 5.100.0 is the last release of version 5, so both ends of this range are tested. Version 6 is not tested yet.
      version = ">= 5.100.0, < 6.0.0"
    }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  # The id is the region's name in every version of the provider; the attribute `name` is deprecated in version 6.
  region = data.aws_region.current.id
  arn    = "arn:${data.aws_partition.current.partition}"
}
