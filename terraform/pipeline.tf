# The pipeline: source, build, staging if there is one, approval if it is asked for, deployment. Each deployment is
# recorded after it has succeeded.

locals {
  # The services that the pipeline deploys to: those of this stack and of its staging stack. A staging stack lives in the
  # same account and region, so that its names follow from its own name, and neither stack reads the other's state.
  deploy_targets = { for stage, stack in merge(
    { Deploy = var.name },
    var.staging_stack == null ? {} : { Staging = var.staging_stack },
    ) : stage => {
    stack               = stack
    service_arn         = "${local.arn}:ecs:${local.region}:${local.account_id}:service/${stack}/${stack}"
    task_definition_arn = "${local.arn}:ecs:${local.region}:${local.account_id}:task-definition/${stack}:*"
    role_arns           = [for role in ["execution", "task"] : "${local.arn}:iam::${local.account_id}:role/${stack}-${local.region}-${role}"]
    parameter           = "/${stack}/image-tag"
    parameter_arn       = "${local.arn}:ssm:${local.region}:${local.account_id}:parameter/${stack}/image-tag"
  } }

  deploy_stages = concat(
    var.staging_stack == null ? [] : ["Staging"],
    var.deployment_approval_required ? ["Approval"] : [],
    ["Deploy"],
  )
  approval_notifies = local.own_pipeline && var.deployment_approval_required && var.alarms_enabled
}

# Made pending. A person with rights in the repository authorises it once, in the console.
resource "aws_codeconnections_connection" "source" {
  count = local.own_pipeline ? 1 : 0

  name          = var.name
  provider_type = "GitHub"
}

# What passes from stage to stage, and for each image its bill of materials and the digests of it and of its base.
resource "aws_s3_bucket" "artifacts" {
  count = local.own_pipeline ? 1 : 0

  bucket_prefix = "${var.name}-artifacts-"
  force_destroy = !var.deletion_protection
}

resource "aws_s3_bucket_public_access_block" "artifacts" {
  count = local.own_pipeline ? 1 : 0

  bucket                  = aws_s3_bucket.artifacts[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "artifacts" {
  count = local.own_pipeline ? 1 : 0

  bucket = aws_s3_bucket.artifacts[0].id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "artifacts" {
  count = local.own_pipeline ? 1 : 0

  bucket = aws_s3_bucket.artifacts[0].id

  # The pipeline keeps its artifacts under its own name. What lies under images/ is not expired: an image may run for years.
  rule {
    id     = "expire"
    status = "Enabled"

    filter {
      prefix = "${substr(var.name, 0, 20)}/"
    }

    expiration {
      days = 30
    }
  }

  rule {
    id     = "abort"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

resource "aws_s3_bucket_policy" "artifacts" {
  count = local.own_pipeline ? 1 : 0

  bucket = aws_s3_bucket.artifacts[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OnlyOverTls"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.artifacts[0].arn, "${aws_s3_bucket.artifacts[0].arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  # S3 refuses two changes of one bucket's rights at once.
  depends_on = [aws_s3_bucket_public_access_block.artifacts]
}

resource "aws_codebuild_project" "app" {
  count = local.own_pipeline ? 1 : 0

  name           = var.name
  description    = "Tests, builds and pushes the image, as buildspec.yml in the source says"
  service_role   = aws_iam_role.build[0].arn
  build_timeout  = 45
  encryption_key = var.kms_key_arn

  source {
    type      = "CODEPIPELINE"
    buildspec = "buildspec.yml"
  }

  artifacts {
    type = "CODEPIPELINE"
  }

  # On the architecture of the tasks: docker builds for the machine that it runs on, without emulation.
  environment {
    type            = var.cpu_architecture == "ARM64" ? "ARM_CONTAINER" : "LINUX_CONTAINER"
    compute_type    = "BUILD_GENERAL1_MEDIUM" # The tests of this stack alone take 3 GB.
    image           = var.cpu_architecture == "ARM64" ? "aws/codebuild/amazonlinux-aarch64-standard:3.0" : "aws/codebuild/amazonlinux-x86_64-standard:5.0"
    privileged_mode = true # For docker build.

    environment_variable {
      name  = "REPOSITORY_URL"
      value = aws_ecr_repository.app[0].repository_url
    }
    environment_variable {
      name  = "IMAGES_URL"
      value = "s3://${aws_s3_bucket.artifacts[0].bucket}/images"
    }
    environment_variable {
      name  = "CONTAINER_NAME"
      value = local.container_name
    }
  }

  logs_config {
    cloudwatch_logs {
      group_name = aws_cloudwatch_log_group.main["build"].name
    }
  }

  depends_on = [aws_iam_role_policy.build]
}

# Runs after a deployment: writes the image's tag into the parameter that Terraform reads, and tags the image as deployed.
resource "aws_codebuild_project" "record" {
  count = local.own_pipeline ? 1 : 0

  name           = "${var.name}-record"
  description    = "Records which image was deployed"
  service_role   = aws_iam_role.record[0].arn
  build_timeout  = 5
  encryption_key = var.kms_key_arn

  source {
    type      = "CODEPIPELINE"
    buildspec = file("${path.module}/record.buildspec.yml")
  }

  artifacts {
    type = "CODEPIPELINE"
  }

  environment {
    type            = "LINUX_CONTAINER"
    compute_type    = "BUILD_GENERAL1_SMALL"
    image           = "aws/codebuild/amazonlinux-x86_64-standard:5.0"
    privileged_mode = false

    environment_variable {
      name  = "REPOSITORY_NAME"
      value = aws_ecr_repository.app[0].name
    }
  }

  logs_config {
    cloudwatch_logs {
      group_name = aws_cloudwatch_log_group.main["build"].name
    }
  }

  depends_on = [aws_iam_role_policy.record]
}

resource "aws_codepipeline" "app" {
  count = local.own_pipeline ? 1 : 0

  name           = var.name
  role_arn       = aws_iam_role.pipeline[0].arn
  pipeline_type  = "V2"
  execution_mode = "QUEUED" # A commit never overtakes one that waits for its approval.

  artifact_store {
    type     = "S3"
    location = aws_s3_bucket.artifacts[0].bucket

    dynamic "encryption_key" {
      for_each = var.kms_key_arn == null ? [] : [var.kms_key_arn]
      content {
        id   = encryption_key.value
        type = "KMS"
      }
    }
  }

  stage {
    name = "Source"

    action {
      name             = "Source"
      category         = "Source"
      owner            = "AWS"
      provider         = "CodeStarSourceConnection"
      version          = "1"
      output_artifacts = ["source"]

      configuration = {
        ConnectionArn    = aws_codeconnections_connection.source[0].arn
        FullRepositoryId = var.source_repository
        BranchName       = var.source_branch
      }
    }
  }

  stage {
    name = "Build"

    action {
      name             = "Build"
      category         = "Build"
      owner            = "AWS"
      provider         = "CodeBuild"
      version          = "1"
      input_artifacts  = ["source"]
      output_artifacts = ["image"]

      configuration = {
        ProjectName = aws_codebuild_project.app[0].name
      }
    }
  }

  dynamic "stage" {
    for_each = local.deploy_stages
    content {
      name = stage.value

      dynamic "action" {
        for_each = stage.value == "Approval" ? ["Approve"] : []
        content {
          name     = action.value
          category = "Approval"
          owner    = "AWS"
          provider = "Manual"
          version  = "1"

          configuration = merge(
            { CustomData = "Approve to deploy to ${var.name}." },
            local.approval_notifies ? { NotificationArn = aws_sns_topic.alarms[0].arn } : {},
          )
        }
      }

      # Copies the revision that the service runs, puts the new image in, and waits until the deployment has succeeded.
      dynamic "action" {
        for_each = stage.value == "Approval" ? [] : [local.deploy_targets[stage.value]]
        content {
          name            = "Deploy"
          category        = "Deploy"
          owner           = "AWS"
          provider        = "ECS"
          version         = "1"
          run_order       = 1
          input_artifacts = ["image"]

          configuration = {
            ClusterName       = action.value.stack
            ServiceName       = action.value.stack
            FileName          = "imagedefinitions.json"
            DeploymentTimeout = "20"
          }
        }
      }

      dynamic "action" {
        for_each = stage.value == "Approval" ? [] : [local.deploy_targets[stage.value]]
        content {
          name            = "Record"
          category        = "Build"
          owner           = "AWS"
          provider        = "CodeBuild"
          version         = "1"
          run_order       = 2
          input_artifacts = ["image"]

          configuration = {
            ProjectName          = aws_codebuild_project.record[0].name
            EnvironmentVariables = jsonencode([{ name = "IMAGE_TAG_PARAMETER", value = action.value.parameter, type = "PLAINTEXT" }])
          }
        }
      }
    }
  }

  # The pipeline starts as soon as it exists.
  depends_on = [aws_iam_role_policy.pipeline, aws_ecs_service.app]
}
