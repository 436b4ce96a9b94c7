# All groups in one place, so that none is without retention. Some are named by AWS and would be made without it.
locals {
  log_groups = merge(
    {
      app      = "/ecs/${var.name}"
      exec     = "/ecs/${var.name}/exec"
      insights = "/aws/ecs/containerinsights/${var.name}/performance"
      build    = "/aws/codebuild/${var.name}"
      redis    = "/aws/elasticache/${var.name}"
    },
    var.firewall_enabled ? { firewall = "aws-waf-logs-${var.name}" } : {}, # WAF takes no other prefix.
  )
}

resource "aws_cloudwatch_log_group" "main" {
  for_each = local.log_groups

  name              = each.value
  retention_in_days = var.log_retention_days
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
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}
