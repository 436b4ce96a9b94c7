# All groups in one place, so that each has a retention. AWS would create some of them by itself, without one.
locals {
  log_groups = merge(
    {
      app   = "/ecs/${var.name}"
      exec  = "/ecs/${var.name}/exec"
      redis = "/aws/elasticache/${var.name}"
    },
    local.own_pipeline ? { build = "/aws/codebuild/${var.name}" } : {},
    var.container_insights == "disabled" ? {} : { insights = "/aws/ecs/containerinsights/${var.name}/performance" },
    var.metrics_agent_enabled ? { agent = "/ecs/${var.name}/metrics" } : {},
    var.firewall_enabled ? { firewall = "aws-waf-logs-${var.name}" } : {}, # WAF takes no other prefix.
  )
}

resource "aws_cloudwatch_log_group" "main" {
  for_each = local.log_groups

  name              = each.value
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

# Without one of ours AWS adds to a policy that the account shares, which is full after some fifty groups.
resource "aws_cloudwatch_log_resource_policy" "delivery" {
  policy_name = "${var.name}-log-delivery"

  policy_document = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "delivery.logs.amazonaws.com" }
      Action    = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource  = [for key, group in aws_cloudwatch_log_group.main : "${group.arn}:*" if contains(["redis", "firewall"], key)]
      Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
    }]
  })
}

# Access logs of the load balancer and flow logs of the VPC: a bucket, because CloudWatch costs twenty times as much to keep.
locals {
  bucket_logs = var.access_logs_enabled || var.flow_logs_enabled
}

resource "aws_s3_bucket" "logs" {
  count = local.bucket_logs ? 1 : 0

  bucket_prefix = "${var.name}-logs-"
  force_destroy = !var.deletion_protection
}

resource "aws_s3_bucket_public_access_block" "logs" {
  count = local.bucket_logs ? 1 : 0

  bucket                  = aws_s3_bucket.logs[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# The load balancer writes to no bucket that is encrypted with a key of KMS.
resource "aws_s3_bucket_server_side_encryption_configuration" "logs" {
  count = local.bucket_logs ? 1 : 0

  bucket = aws_s3_bucket.logs[0].id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "logs" {
  count = local.bucket_logs ? 1 : 0

  bucket = aws_s3_bucket.logs[0].id

  rule {
    id     = "expire"
    status = "Enabled"

    filter {}

    expiration {
      days = var.log_retention_days
    }
  }
}

resource "aws_s3_bucket_policy" "logs" {
  count = local.bucket_logs ? 1 : 0

  bucket = aws_s3_bucket.logs[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyOverTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.logs[0].arn, "${aws_s3_bucket.logs[0].arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "LoadBalancerWrites"
        Effect    = "Allow"
        Principal = { Service = "logdelivery.elasticloadbalancing.amazonaws.com" }
        Action    = "s3:PutObject"
        # The path is the condition: each load balancer writes under the account that it belongs to.
        Resource = "${aws_s3_bucket.logs[0].arn}/balancer/AWSLogs/${local.account_id}/*"
      },
      {
        Sid       = "FlowLogsWrite"
        Effect    = "Allow"
        Principal = { Service = "delivery.logs.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.logs[0].arn}/flow/AWSLogs/${local.account_id}/*"
        Condition = { StringEquals = { "aws:SourceAccount" = local.account_id, "s3:x-amz-acl" = "bucket-owner-full-control" } }
      },
      {
        Sid       = "FlowLogsCheck"
        Effect    = "Allow"
        Principal = { Service = "delivery.logs.amazonaws.com" }
        Action    = "s3:GetBucketAcl"
        Resource  = aws_s3_bucket.logs[0].arn
        Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
      },
    ]
  })

  # S3 refuses two changes of one bucket's rights at once.
  depends_on = [aws_s3_bucket_public_access_block.logs]
}

resource "aws_flow_log" "main" {
  count = var.flow_logs_enabled ? 1 : 0

  vpc_id               = local.network.vpc_id
  traffic_type         = "ALL"
  log_destination_type = "s3"
  log_destination      = "${aws_s3_bucket.logs[0].arn}/flow/"

  depends_on = [aws_s3_bucket_policy.logs]
}
