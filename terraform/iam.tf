# Policies are written with jsonencode: under a mocked provider aws_iam_policy_document returns noise that no test can read.

locals {
  trust = {
    for service in ["ecs-tasks", "codebuild", "codepipeline"] : service => jsonencode({
      Version = "2012-10-17"
      Statement = [{
        Effect    = "Allow"
        Action    = "sts:AssumeRole"
        Principal = { Service = "${service}.amazonaws.com" }
        Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
      }]
    })
  }
  # Roles are global in an account, so that their names carry the region: a second stack of one name fits in another region.
  role_prefix = "${var.name}-${local.region}"

  # Added to the policy of each role that reads or writes something encrypted with the customer's key.
  use_key = var.kms_key_arn == null ? [] : [{
    Effect   = "Allow"
    Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource = var.kms_key_arn
  }]
}

# Starts tasks: fetches the image and the secrets, opens the log.
resource "aws_iam_role" "execution" {
  name                 = "${local.role_prefix}-execution"
  assume_role_policy   = local.trust["ecs-tasks"]
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "execution" {
  name = "start-tasks"
  role = aws_iam_role.execution.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = "*"
      },
      {
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = local.repository.arn
      },
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = [for key, group in aws_cloudwatch_log_group.main : "${group.arn}:*" if contains(["app", "agent"], key)]
      },
      {
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = [for secret in aws_secretsmanager_secret.app : secret.arn]
      },
    ], local.use_key)
  })
}

# The service itself asks nothing of AWS.
resource "aws_iam_role" "task" {
  name                 = "${local.role_prefix}-task"
  assume_role_policy   = local.trust["ecs-tasks"]
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "task" {
  count = var.execute_command_enabled ? 1 : 0

  name = "execute-command"
  role = aws_iam_role.task.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Action = [
          "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
          "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
        ]
        Resource = "*"
      },
      {
        Effect   = "Allow"
        Action   = ["logs:DescribeLogGroups"]
        Resource = "*"
      },
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.main["exec"].arn}:*"
      },
    ]
  })
}

# Builds and tests the image, pushes it, and keeps its bill of materials.
resource "aws_iam_role" "build" {
  count = local.own_pipeline ? 1 : 0

  name                 = "${local.role_prefix}-build"
  assume_role_policy   = local.trust["codebuild"]
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "build" {
  count = local.own_pipeline ? 1 : 0

  name = "build-and-push"
  role = aws_iam_role.build[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.main["build"].arn}:*"
      },
      {
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"]
        Resource = "${aws_s3_bucket.artifacts[0].arn}/*"
      },
      {
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = "*"
      },
      {
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload",
          "ecr:GetDownloadUrlForLayer", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart",
        ]
        Resource = aws_ecr_repository.app[0].arn
      },
    ], local.use_key)
  })
}

# Writes down which image runs, after its deployment has succeeded.
resource "aws_iam_role" "record" {
  count = local.own_pipeline ? 1 : 0

  name                 = "${local.role_prefix}-record"
  assume_role_policy   = local.trust["codebuild"]
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "record" {
  count = local.own_pipeline ? 1 : 0

  name = "record-deployment"
  role = aws_iam_role.record[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.main["build"].arn}:*"
      },
      {
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion"]
        Resource = "${aws_s3_bucket.artifacts[0].arn}/*"
      },
      {
        # A tag for an image that is there already; PutImage alone uploads no layer.
        Effect   = "Allow"
        Action   = ["ecr:BatchGetImage", "ecr:DescribeImages", "ecr:PutImage"]
        Resource = aws_ecr_repository.app[0].arn
      },
      {
        Effect   = "Allow"
        Action   = ["ssm:PutParameter"]
        Resource = [for target in local.deploy_targets : target.parameter_arn]
      },
    ], local.use_key)
  })
}

# Fetches the source, starts the build, asks for approval, deploys.
resource "aws_iam_role" "pipeline" {
  count = local.own_pipeline ? 1 : 0

  name                 = "${local.role_prefix}-pipeline"
  assume_role_policy   = local.trust["codepipeline"]
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "pipeline" {
  count = local.own_pipeline ? 1 : 0

  name = "build-and-deploy"
  role = aws_iam_role.pipeline[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        # AWS asks for one or the other name of the same right.
        Effect   = "Allow"
        Action   = ["codeconnections:UseConnection", "codestar-connections:UseConnection"]
        Resource = aws_codeconnections_connection.source[0].arn
      },
      {
        Effect   = "Allow"
        Action   = ["s3:GetBucketVersioning", "s3:GetBucketAcl", "s3:GetBucketLocation"]
        Resource = aws_s3_bucket.artifacts[0].arn
      },
      {
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"]
        Resource = "${aws_s3_bucket.artifacts[0].arn}/*"
      },
      {
        Effect   = "Allow"
        Action   = ["codebuild:BatchGetBuilds", "codebuild:StartBuild"]
        Resource = [aws_codebuild_project.app[0].arn, aws_codebuild_project.record[0].arn]
      },
      {
        Effect   = "Allow"
        Action   = ["ecs:DescribeServices", "ecs:UpdateService"]
        Resource = [for target in local.deploy_targets : target.service_arn]
      },
      {
        # These two know no narrower resource.
        Effect   = "Allow"
        Action   = ["ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition"]
        Resource = "*"
      },
      {
        Effect    = "Allow"
        Action    = ["ecs:TagResource"]
        Resource  = [for target in local.deploy_targets : target.task_definition_arn]
        Condition = { StringEquals = { "ecs:CreateAction" = "RegisterTaskDefinition" } }
      },
      {
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = flatten([for target in local.deploy_targets : target.role_arns])
        Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
      },
      ],
      # The manual approval tells the topic that somebody is waited for.
      local.approval_notifies ? [{
        Effect   = "Allow"
        Action   = ["sns:Publish"]
        Resource = aws_sns_topic.alarms[0].arn
    }] : [], local.use_key)
  })
}

# The metrics agent writes metrics as log events.
resource "aws_iam_role" "agent" {
  count = var.metrics_agent_enabled ? 1 : 0

  name                 = "${local.role_prefix}-agent"
  assume_role_policy   = local.trust["ecs-tasks"]
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "agent" {
  count = var.metrics_agent_enabled ? 1 : 0

  name = "write-metrics"
  role = aws_iam_role.agent[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.main["agent"].arn}:*"
    }]
  })
}
