# Everything that tells an operator something: one topic, alarms, events, and a dashboard.

locals {
  balancer_dimensions = { LoadBalancer = aws_lb.main.arn_suffix }
  target_dimensions   = { LoadBalancer = aws_lb.main.arn_suffix, TargetGroup = aws_lb_target_group.app.arn_suffix }

  # `missing` says what a period without data means: breaching, notBreaching or ignore.
  service_alarms = {
    target-5xx = {
      description = "Tasks answered 5xx more than ten times a minute, in three of five minutes. 503 means that Redis is away or slow."
      namespace   = "AWS/ApplicationELB", metric = "HTTPCode_Target_5XX_Count", dimensions = local.target_dimensions
      statistic   = "Sum", comparison = "GreaterThanThreshold", threshold = 10, period = 60, periods = 5, datapoints = 3, missing = "notBreaching"
    }
    balancer-5xx = {
      description = "The load balancer itself answered 5xx more than ten times a minute, in three of five minutes: it found no task that answered."
      namespace   = "AWS/ApplicationELB", metric = "HTTPCode_ELB_5XX_Count", dimensions = local.balancer_dimensions
      statistic   = "Sum", comparison = "GreaterThanThreshold", threshold = 10, period = 60, periods = 5, datapoints = 3, missing = "notBreaching"
    }
    latency = {
      description = "One request in a hundred took longer than a second, in three of five minutes."
      namespace   = "AWS/ApplicationELB", metric = "TargetResponseTime", dimensions = local.target_dimensions
      statistic   = "p99", comparison = "GreaterThanThreshold", threshold = 1, period = 60, periods = 5, datapoints = 3, missing = "notBreaching"
    }
    unhealthy-hosts = {
      description = "A task failed the health check of the load balancer for three minutes."
      namespace   = "AWS/ApplicationELB", metric = "UnHealthyHostCount", dimensions = local.target_dimensions
      statistic   = "Minimum", comparison = "GreaterThanThreshold", threshold = 0, period = 60, periods = 3, datapoints = 3, missing = "notBreaching"
    }
    running-tasks = {
      description = "Fewer healthy tasks than min_tasks, for five minutes."
      namespace   = "AWS/ApplicationELB", metric = "HealthyHostCount", dimensions = local.target_dimensions
      statistic   = "Maximum", comparison = "LessThanThreshold", threshold = var.min_tasks, period = 60, periods = 5, datapoints = 5, missing = "breaching"
    }
  }

  redis_alarms = merge([for node in local.redis_nodes : {
    "redis-memory-${node}" = {
      description = "Redis uses more than 75 % of its memory. A full Redis refuses new sessions."
      namespace   = "AWS/ElastiCache", metric = "DatabaseMemoryUsagePercentage", dimensions = { CacheClusterId = node }
      statistic   = "Maximum", comparison = "GreaterThanThreshold", threshold = 75, period = 60, periods = 5, datapoints = 5, missing = "notBreaching"
    }
    "redis-cpu-${node}" = {
      description = "The one core that Redis works on is busy for more than 75 % of the time."
      namespace   = "AWS/ElastiCache", metric = "EngineCPUUtilization", dimensions = { CacheClusterId = node }
      statistic   = "Average", comparison = "GreaterThanThreshold", threshold = 75, period = 60, periods = 5, datapoints = 5, missing = "notBreaching"
    }
    "redis-evictions-${node}" = {
      description = "Redis evicted keys: the limit of a user is no longer exact. maxmemory-policy must be noeviction."
      namespace   = "AWS/ElastiCache", metric = "Evictions", dimensions = { CacheClusterId = node }
      statistic   = "Sum", comparison = "GreaterThanThreshold", threshold = 0, period = 60, periods = 1, datapoints = 1, missing = "notBreaching"
    }
  }]...)

  # The metrics that docs/operations.md tells operators to watch. One task at a time reports those of the shared store.
  metrics_namespace  = "Streamgate/${var.name}"
  metrics_dimensions = { stack = var.name }
  streamgate_alarms = {
    for name, alarm in {
      streamgate_expiry_paused = {
        description = "The sweeps are paused for an hour. Nothing is reported as expired meanwhile."
        statistic   = "Maximum", comparison = "GreaterThanThreshold", threshold = 0, periods = 60
      }
      streamgate_callbacks_oldest_seconds = {
        description = "An event has waited for more than a minute: the receiver is slow or away."
        statistic   = "Maximum", comparison = "GreaterThanThreshold", threshold = 60, periods = 5
      }
      streamgate_callbacks_dead_letters = {
        description = "An event was given up. Replay it when the receiver is back."
        statistic   = "Maximum", comparison = "GreaterThanThreshold", threshold = 0, periods = 1
      }
      streamgate_callbacks_lost_total = {
        description = "Events were dropped, because too many waited."
        statistic   = "Maximum", comparison = "GreaterThanThreshold", threshold = 0, periods = 1
      }
      streamgate_store_up = {
        description = "Redis did not answer a task, in three minutes."
        statistic   = "Minimum", comparison = "LessThanThreshold", threshold = 1, periods = 3
      }
      streamgate_rate_limited_total = {
        description = "A user or an address asks too often: more than a hundred refusals a minute, for five minutes."
        statistic   = "Sum", comparison = "GreaterThanThreshold", threshold = 100, periods = 5
      }
      } : replace(name, "_", "-") => merge(alarm, {
        namespace = local.metrics_namespace, metric = name, dimensions = local.metrics_dimensions, period = 60, datapoints = alarm.periods
        missing   = name == "streamgate_store_up" ? "breaching" : "notBreaching"
    }) if var.metrics_agent_enabled
  }

  alarms = { for key, alarm in merge(local.service_alarms, local.redis_alarms, local.streamgate_alarms) : key => alarm if var.alarms_enabled }
  # Those that a faulty image causes. A deployment during which one of them goes off is rolled back.
  deployment_alarms = ["target-5xx", "latency"]
}

# Neither CloudWatch nor ElastiCache can publish to a topic that is encrypted with the key that SNS provides, and messages
# name resources, not viewers.
resource "aws_sns_topic" "alarms" {
  count = var.alarms_enabled ? 1 : 0

  name = "${var.name}-alarms"
}

resource "aws_sns_topic_policy" "alarms" {
  count = var.alarms_enabled ? 1 : 0

  arn = aws_sns_topic.alarms[0].arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "ServicesOfThisAccountPublish"
        Effect    = "Allow"
        Principal = { Service = ["cloudwatch.amazonaws.com", "events.amazonaws.com"] }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alarms[0].arn
        Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
      },
      {
        # As AWS writes it for a topic without a policy: ElastiCache and the pipeline publish by it.
        Sid       = "ThisAccount"
        Effect    = "Allow"
        Principal = { AWS = "*" }
        Action    = ["sns:GetTopicAttributes", "sns:Publish", "sns:Subscribe"]
        Resource  = aws_sns_topic.alarms[0].arn
        Condition = { StringEquals = { "AWS:SourceOwner" = local.account_id } }
      },
    ]
  })
}

resource "aws_sns_topic_subscription" "email" {
  for_each = toset(var.alarms_enabled ? var.alarm_emails : [])

  topic_arn = aws_sns_topic.alarms[0].arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_metric_alarm" "main" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  period              = each.value.period
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = each.value.datapoints
  treat_missing_data  = each.value.missing
  # The slowest of a handful of requests says nothing.
  evaluate_low_sample_count_percentiles = startswith(each.value.statistic, "p") ? "ignore" : null
  alarm_actions                         = [aws_sns_topic.alarms[0].arn]
  ok_actions                            = [aws_sns_topic.alarms[0].arn]
}

# What is an event and no metric: a pipeline that failed, a deployment that failed or was rolled back.
locals {
  failure_events = { for key, event in {
    deployment = {
      description = "A deployment of the service failed"
      pattern = jsonencode({
        source      = ["aws.ecs"]
        detail-type = ["ECS Deployment State Change"]
        resources   = ["${local.arn}:ecs:${local.region}:${local.account_id}:service/${var.name}/${var.name}"]
        detail      = { eventName = ["SERVICE_DEPLOYMENT_FAILED"] }
      })
    }
    pipeline = {
      description = "The pipeline failed"
      pattern = jsonencode({
        source      = ["aws.codepipeline"]
        detail-type = ["CodePipeline Pipeline Execution State Change"]
        detail      = { pipeline = [var.name], state = ["FAILED"] }
      })
    }
  } : key => event if var.alarms_enabled && (key != "pipeline" || local.own_pipeline) }
}

resource "aws_cloudwatch_event_rule" "failure" {
  for_each = local.failure_events

  name          = "${var.name}-${each.key}-failed"
  description   = each.value.description
  event_pattern = each.value.pattern
}

resource "aws_cloudwatch_event_target" "failure" {
  for_each = local.failure_events

  rule = aws_cloudwatch_event_rule.failure[each.key].name
  arn  = aws_sns_topic.alarms[0].arn
}

locals {
  # One line each: title, and [namespace, metric, statistic, dimensions] of what it shows.
  charts = concat(
    [
      { title = "Requests and errors a minute", metrics = [
        ["AWS/ApplicationELB", "RequestCount", "Sum", local.balancer_dimensions],
        ["AWS/ApplicationELB", "HTTPCode_Target_4XX_Count", "Sum", local.target_dimensions],
        ["AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", "Sum", local.target_dimensions],
        ["AWS/ApplicationELB", "HTTPCode_ELB_5XX_Count", "Sum", local.balancer_dimensions],
      ] },
      { title = "Seconds until a task answers", metrics = [
        ["AWS/ApplicationELB", "TargetResponseTime", "p50", local.target_dimensions],
        ["AWS/ApplicationELB", "TargetResponseTime", "p99", local.target_dimensions],
      ] },
      { title = "Tasks", metrics = [
        ["AWS/ApplicationELB", "HealthyHostCount", "Maximum", local.target_dimensions],
        ["AWS/ApplicationELB", "UnHealthyHostCount", "Maximum", local.target_dimensions],
      ] },
      { title = "CPU and memory of tasks, per cent", metrics = [
        ["AWS/ECS", "CPUUtilization", "Average", { ClusterName = var.name, ServiceName = var.name }],
        ["AWS/ECS", "MemoryUtilization", "Average", { ClusterName = var.name, ServiceName = var.name }],
      ] },
      { title = "Redis: memory, per cent", metrics = [for node in local.redis_nodes : ["AWS/ElastiCache", "DatabaseMemoryUsagePercentage", "Maximum", { CacheClusterId = node }]] },
      { title = "Redis: CPU of its one core, per cent", metrics = [for node in local.redis_nodes : ["AWS/ElastiCache", "EngineCPUUtilization", "Maximum", { CacheClusterId = node }]] },
    ],
    var.metrics_agent_enabled ? [
      { title = "Sessions", metrics = [[local.metrics_namespace, "streamgate_sessions_live", "Maximum", local.metrics_dimensions]] },
      { title = "Callbacks that wait", metrics = [
        [local.metrics_namespace, "streamgate_callbacks_waiting", "Maximum", local.metrics_dimensions],
        [local.metrics_namespace, "streamgate_callbacks_oldest_seconds", "Maximum", local.metrics_dimensions],
        [local.metrics_namespace, "streamgate_callbacks_dead_letters", "Maximum", local.metrics_dimensions],
      ] },
    ] : [],
  )
}

resource "aws_cloudwatch_dashboard" "main" {
  count = var.dashboard_enabled ? 1 : 0

  dashboard_name = "${var.name}-${local.region}"

  dashboard_body = jsonencode({
    widgets = [for index, chart in local.charts : {
      type   = "metric"
      x      = index % 2 * 12
      y      = floor(index / 2) * 6
      width  = 12
      height = 6
      properties = {
        title  = chart.title
        region = local.region
        period = 60
        view   = "timeSeries"
        metrics = [for metric in chart.metrics : concat(
          [metric[0], metric[1]],
          flatten([for name, value in metric[3] : [name, value]]),
          [{ stat = metric[2] }],
        )]
      }
    }]
  })
}
