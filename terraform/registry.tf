locals {
  # A stack that another stack's pipeline deploys to has neither repository nor pipeline of its own.
  own_pipeline    = var.deployed_by_stack == null
  repository_name = coalesce(var.deployed_by_stack, var.name)
  repository = local.own_pipeline ? {
    arn = aws_ecr_repository.app[0].arn
    url = aws_ecr_repository.app[0].repository_url
    } : {
    arn = "${local.arn}:ecr:${local.region}:${local.account_id}:repository/${local.repository_name}"
    url = "${local.account_id}.dkr.ecr.${local.region}.amazonaws.com/${local.repository_name}"
  }
}

resource "aws_ecr_repository" "app" {
  count = local.own_pipeline ? 1 : 0

  name                 = var.name
  image_tag_mutability = "IMMUTABLE"
  force_delete         = !var.deletion_protection

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = var.kms_key_arn == null ? "AES256" : "KMS"
    kms_key         = var.kms_key_arn
  }
}

# An image that was deployed has a second tag, deployed-…, and is counted among its like: builds that never ran, however
# many, expire no image that runs. An image that the first rule matches, the second never expires.
resource "aws_ecr_lifecycle_policy" "app" {
  count = local.own_pipeline ? 1 : 0

  repository = aws_ecr_repository.app[0].name

  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "Keep the latest 20 images that were deployed: each is a way back"
        selection    = { tagStatus = "tagged", tagPrefixList = ["deployed-"], countType = "imageCountMoreThan", countNumber = 20 }
        action       = { type = "expire" }
      },
      {
        rulePriority = 2
        description  = "Keep the latest 20 of the others"
        selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 20 }
        action       = { type = "expire" }
      },
    ]
  })
}

# Where Terraform and the pipeline meet: after a deployment the pipeline writes which image runs, and the task definition
# reads it. So neither undoes the other: a change of size keeps the image that was deployed.
resource "aws_ssm_parameter" "image_tag" {
  name           = "/${var.name}/image-tag"
  description    = "Tag of the image that runs, written by the pipeline after its deployment"
  type           = "String"
  insecure_value = var.initial_image_tag

  lifecycle {
    ignore_changes = [insecure_value]
  }
}
