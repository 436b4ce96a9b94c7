# The whole stack, applied to a mocked AWS: how the parts are wired, and what no part may allow.

mock_provider "aws" {
  source = "./tests/mocks"
}

# By default all of a type have one ARN. These must be told apart.
override_resource {
  target = aws_iam_role.execution
  values = { arn = "arn:aws:iam::123456789012:role/execution" }
}
override_resource {
  target = aws_iam_role.task
  values = { arn = "arn:aws:iam::123456789012:role/task" }
}
override_resource {
  target = aws_iam_role.build
  values = { arn = "arn:aws:iam::123456789012:role/build" }
}
override_resource {
  target = aws_iam_role.pipeline
  values = { arn = "arn:aws:iam::123456789012:role/pipeline" }
}

run "stack" {
  # Network

  assert {
    condition     = aws_route.internet[0].route_table_id == aws_route_table.public[0].id && aws_route.internet[0].gateway_id == aws_internet_gateway.main[0].id
    error_message = "The public tier has no way out, or the private one has."
  }
  assert {
    condition = alltrue([for zone, association in aws_route_table_association.private :
      association.route_table_id == aws_route_table.private[0].id && association.subnet_id == aws_subnet.private[zone].id
    ])
    error_message = "A private subnet has another route table than the private one."
  }
  assert {
    condition = (
      length(toset([for subnet in aws_subnet.public : subnet.availability_zone])) >= 2
      && length(toset([for subnet in aws_subnet.private : subnet.availability_zone])) >= 2
    )
    error_message = "A tier lies in fewer than two zones."
  }
  assert {
    condition     = length(toset([for subnet in concat(values(aws_subnet.public), values(aws_subnet.private)) : subnet.cidr_block])) == 4
    error_message = "Two subnets have the same addresses."
  }
  assert {
    condition     = aws_default_security_group.closed[0].vpc_id == aws_vpc.main[0].id
    error_message = "The default security group is as AWS makes it: open to itself and to the world."
  }

  # Who may talk to whom

  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.redis_from_ecs.security_group_id == aws_security_group.redis.id
      && aws_vpc_security_group_ingress_rule.redis_from_ecs.referenced_security_group_id == aws_security_group.ecs.id
      && aws_vpc_security_group_ingress_rule.redis_from_ecs.cidr_ipv4 == null
      && aws_vpc_security_group_ingress_rule.redis_from_ecs.from_port == 6379
      && aws_vpc_security_group_ingress_rule.redis_from_ecs.to_port == 6379
    )
    error_message = "Redis lets in somebody else than the tasks, or on another port."
  }
  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.ecs_from_alb["clients"].security_group_id == aws_security_group.ecs.id
      && aws_vpc_security_group_ingress_rule.ecs_from_alb["clients"].referenced_security_group_id == aws_security_group.alb.id
      && aws_vpc_security_group_ingress_rule.ecs_from_ecs.security_group_id == aws_security_group.ecs.id
      && aws_vpc_security_group_ingress_rule.ecs_from_ecs.referenced_security_group_id == aws_security_group.ecs.id
      && aws_vpc_security_group_ingress_rule.ecs_from_alb["health"].referenced_security_group_id == aws_security_group.alb.id
      && alltrue([for rule in [aws_vpc_security_group_ingress_rule.ecs_from_alb["clients"]] :
        rule.cidr_ipv4 == null && rule.from_port == 8080 && rule.to_port == 8080
      ])
      && alltrue([for rule in [aws_vpc_security_group_ingress_rule.ecs_from_alb["health"], aws_vpc_security_group_ingress_rule.ecs_from_ecs] :
        rule.cidr_ipv4 == null && rule.from_port == 8081 && rule.to_port == 8081
      ])
    )
    error_message = "Tasks let in more than the load balancer and other tasks, or on another port."
  }
  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.alb_from_internet : rule.from_port]) == toset([80, 443])
    error_message = "The load balancer is open on other ports than 80 and 443."
  }
  assert {
    condition = (
      aws_vpc_security_group_egress_rule.ecs_to_redis.referenced_security_group_id == aws_security_group.redis.id
      && aws_vpc_security_group_egress_rule.ecs_to_https.from_port == 443
      && aws_vpc_security_group_egress_rule.ecs_to_https.to_port == 443
    )
    error_message = "Tasks reach more than Redis and port 443, or less."
  }

  # Redis

  assert {
    condition     = toset(aws_elasticache_subnet_group.main.subnet_ids) == toset([for subnet in aws_subnet.private : subnet.id])
    error_message = "Redis is not in the private tier, or not in all of it."
  }
  assert {
    condition     = aws_elasticache_replication_group.main.security_group_ids == toset([aws_security_group.redis.id])
    error_message = "Redis is in another security group than its own."
  }
  assert {
    condition     = aws_elasticache_replication_group.main.transit_encryption_enabled && aws_elasticache_replication_group.main.at_rest_encryption_enabled
    error_message = "Redis does not encrypt what it sends, or what it keeps."
  }
  assert {
    condition = (
      try(length(aws_elasticache_replication_group.main.auth_token) >= 32, false)
      && aws_elasticache_replication_group.main.auth_token == aws_secretsmanager_secret_version.app["REDIS_PASSWORD"].secret_string
    )
    error_message = "Redis asks for no token, or for another than tasks are given."
  }
  assert {
    condition = (
      aws_elasticache_replication_group.main.num_cache_clusters == 2
      && aws_elasticache_replication_group.main.automatic_failover_enabled
      && aws_elasticache_replication_group.main.multi_az_enabled
    )
    error_message = "Redis does not fail over to another zone."
  }
  assert {
    condition     = { for parameter in aws_elasticache_parameter_group.main.parameter : parameter.name => parameter.value } == { maxmemory-policy = "noeviction" }
    error_message = "Redis may evict sessions, or runs in cluster mode that nobody asked for."
  }
  assert {
    condition     = aws_elasticache_replication_group.main.parameter_group_name == aws_elasticache_parameter_group.main.name
    error_message = "Redis has another parameter group than ours."
  }

  # The load balancer

  assert {
    condition     = aws_lb.main.xff_header_processing_mode == "append"
    error_message = "The address of a client is not what the load balancer appends to X-Forwarded-For."
  }

  # The task: image, environment, secrets

  assert {
    condition     = jsondecode(aws_ecs_task_definition.app.container_definitions)[0].image == "${aws_ecr_repository.app[0].repository_url}:none-yet"
    error_message = "The image is not of our repository, or not the one that the parameter names."
  }
  assert {
    condition = (
      { for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment : one.name => one.value }
      == { for name, value in jsondecode(file("./tests/environment.json")).minimal.environment : name => value }
    )
    error_message = "The environment is not that of tests/environment.json, which src/config.ts is held against as well."
  }
  assert {
    condition = (
      { for name, version in aws_secretsmanager_secret_version.app : name => version.secret_string }
      == { for name, value in jsondecode(file("./tests/environment.json")).minimal.secrets : name => value }
    )
    error_message = "The secrets are not those of tests/environment.json, which src/config.ts is held against as well."
  }
  assert {
    condition = (
      { for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].secrets : one.name => one.valueFrom }
      == { for name, secret in aws_secretsmanager_secret.app : name => secret.arn }
    )
    error_message = "A secret is not given, or another one in its place."
  }
  assert {
    condition     = alltrue([for name, version in aws_secretsmanager_secret_version.app : version.secret_id == aws_secretsmanager_secret.app[name].id])
    error_message = "A secret has the value of another."
  }
  assert {
    condition     = alltrue([for version in aws_secretsmanager_secret_version.app : length(setsubtract(version.version_stages, ["AWSCURRENT", "AWSPREVIOUS"])) == 1])
    error_message = "AWS deletes the version that Terraform knows when the secret is put by hand twice, and the next apply draws another."
  }
  assert {
    condition = length([for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment : one.name
      if can(regex("SECRET|PASSWORD|TOKEN|PRIVATE_KEY", one.name)) || strcontains(one.value, "abcdefgh")
    ]) == 0
    error_message = "A secret stands in the task definition in plain."
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.app.container_definitions)[0].readonlyRootFilesystem && length(aws_iam_role_policy.task) == 0
    error_message = "The task may write to its root file system or ask something of AWS, without ECS Exec."
  }
  assert {
    condition = (
      jsondecode(aws_ecs_task_definition.app.container_definitions)[0].portMappings[*].containerPort == [8080, 8081]
      && !can(jsondecode(aws_ecs_task_definition.app.container_definitions)[0].healthCheck)
    )
    error_message = "The container's ports are not those that the service listens on, or the container has a health check: it ends busy tasks."
  }
  assert {
    condition = (
      jsondecode(aws_ecs_task_definition.app.container_definitions)[0].linuxParameters.initProcessEnabled
      && jsondecode(aws_ecs_task_definition.app.container_definitions)[0].stopTimeout == jsondecode(file("./tests/timeouts.json")).stop
    )
    error_message = "The container has no init, or another time to end than tests/timeouts.json says, which the service is held against."
  }
  assert {
    condition     = aws_ecs_task_definition.app.execution_role_arn == aws_iam_role.execution.arn && aws_ecs_task_definition.app.task_role_arn == aws_iam_role.task.arn
    error_message = "The task runs with another role than its own."
  }
  assert {
    condition     = aws_ecs_task_definition.app.track_latest
    error_message = "A change by Terraform would undo a deployment by the pipeline."
  }

  # The service

  assert {
    condition = (
      aws_ecs_service.app.network_configuration[0].subnets == toset([for subnet in aws_subnet.public : subnet.id])
      && aws_ecs_service.app.network_configuration[0].assign_public_ip
      && aws_ecs_service.app.network_configuration[0].security_groups == toset([aws_security_group.ecs.id])
    )
    error_message = "Tasks are not in the public tier with an address, behind their own security group: they reach no registry."
  }
  assert {
    condition     = try(aws_ecs_service.app.deployment_circuit_breaker[0].enable && aws_ecs_service.app.deployment_circuit_breaker[0].rollback, false)
    error_message = "A deployment that does not start is not rolled back."
  }
  assert {
    condition     = aws_ecs_service.app.deployment_minimum_healthy_percent == 100
    error_message = "A deployment ends tasks before the new ones are there."
  }
  assert {
    condition = (
      one(aws_ecs_service.app.load_balancer).target_group_arn == aws_lb_target_group.app.arn
      && one(aws_ecs_service.app.load_balancer).container_name == jsondecode(aws_ecs_task_definition.app.container_definitions)[0].name
      && one(aws_ecs_service.app.load_balancer).container_port == 8080
    )
    error_message = "The load balancer does not reach the container."
  }
  assert {
    condition     = aws_ecs_service.app.service_registries[0].registry_arn == aws_service_discovery_service.app.arn
    error_message = "The service is not to be discovered."
  }
  assert {
    condition     = output.discovery_name == "app.streamgate.internal:8081"
    error_message = "The discovery name is another than documented."
  }

  # The load balancer

  assert {
    condition = (
      !aws_lb.main.internal
      && aws_lb.main.subnets == toset([for subnet in aws_subnet.public : subnet.id])
      && aws_lb.main.security_groups == toset([aws_security_group.alb.id])
      && aws_lb.main.drop_invalid_header_fields
    )
    error_message = "The load balancer is not in the public tier behind its own security group, or passes malformed headers."
  }
  assert {
    condition = (
      aws_lb.main.idle_timeout == jsondecode(file("./tests/timeouts.json")).idle
      && tonumber(aws_lb_target_group.app.deregistration_delay) == jsondecode(file("./tests/timeouts.json")).drain
    )
    error_message = "The load balancer waits for another time than tests/timeouts.json says, which the service is held against."
  }
  assert {
    condition = (
      aws_lb_listener.http.port == 80
      && aws_lb_listener.http.default_action[0].type == "redirect"
      && try(aws_lb_listener.http.default_action[0].redirect[0].protocol == "HTTPS", false)
      && try(aws_lb_listener.http.default_action[0].redirect[0].status_code == "HTTP_301", false)
    )
    error_message = "HTTP does something else than redirect to HTTPS."
  }
  assert {
    condition     = aws_lb_listener_rule.app.listener_arn == aws_lb_listener.https.arn && aws_lb_listener.https.protocol == "HTTPS" && aws_lb_listener.https.ssl_policy == "ELBSecurityPolicy-TLS13-1-2-2021-06"
    error_message = "What forwards is not HTTPS of TLS 1.2 or 1.3."
  }
  assert {
    condition     = aws_lb_listener.https.default_action[0].type == "fixed-response" && aws_lb_listener.https.default_action[0].fixed_response[0].status_code == "404"
    error_message = "HTTPS forwards what no rule names."
  }
  assert {
    condition = (
      aws_lb_listener_rule.not_for_clients.action[0].type == "fixed-response"
      && aws_lb_listener_rule.not_for_clients.action[0].fixed_response[0].status_code == "403"
      && length(aws_lb_listener_rule.not_for_clients.condition) == 1
      && one(aws_lb_listener_rule.not_for_clients.condition).path_pattern[0].values == toset(jsondecode(file("./tests/paths.json")).forbidden)
      && aws_lb_listener_rule.not_for_clients.listener_arn == aws_lb_listener.https.arn
      && aws_lb_listener_rule.not_for_clients.priority < aws_lb_listener_rule.app.priority
    )
    error_message = "/internal, /metrics or /docs is not answered 403, whatever other rules say."
  }
  assert {
    condition = (
      toset(flatten([for condition in aws_lb_listener_rule.app.condition : [for pattern in condition.path_pattern : pattern.values]])) == toset(jsondecode(file("./tests/paths.json")).forwarded)
      && toset(flatten([for condition in aws_lb_listener_rule.app.condition : [for header in condition.host_header : header.values]])) == toset(["gate.example.com"])
    )
    error_message = "The load balancer forwards other paths than those for clients, or for other hosts: /%69nternal would pass a rule that names only what may not."
  }
  assert {
    condition     = aws_lb_target_group.app.port == 8080 && aws_lb_target_group.app.target_type == "ip" && aws_lb_target_group.app.health_check[0].path == "/health/live" && aws_lb_target_group.app.health_check[0].port == "8081"
    error_message = "The target group is not for the service's port, or its health check asks Redis, or waits behind clients."
  }
  assert {
    condition     = [for type, record in aws_route53_record.app : [type, record.type, record.alias[0].name, record.name]] == [["A", "A", aws_lb.main.dns_name, "gate.example.com"]]
    error_message = "The A record does not lead to the load balancer."
  }

  # Firewall and logs

  assert {
    condition     = aws_wafv2_web_acl_association.main[0].resource_arn == aws_lb.main.arn
    error_message = "The firewall does not stand before the load balancer."
  }
  assert {
    condition = toset([for rule in aws_wafv2_web_acl.main[0].rule : rule.name]) == toset([
      "AWSManagedRulesAmazonIpReputationList", "AWSManagedRulesCommonRuleSet", "AWSManagedRulesKnownBadInputsRuleSet", "rate-per-address",
    ])
    error_message = "The firewall lacks a rule."
  }
  assert {
    condition     = startswith(aws_cloudwatch_log_group.main["firewall"].name, "aws-waf-logs-")
    error_message = "WAF writes to groups alone whose names begin with aws-waf-logs-."
  }
  assert {
    condition = (
      aws_wafv2_web_acl_logging_configuration.main[0].logging_filter[0].default_behavior == "DROP"
      && [for filter in aws_wafv2_web_acl_logging_configuration.main[0].logging_filter[0].filter :
        [filter.behavior, [for condition in filter.condition : condition.action_condition[0].action]]
      ] == [["KEEP", ["BLOCK"]]]
    )
    error_message = "The firewall writes a line for requests that it lets through: for every one, or for what it counts."
  }
  assert {
    condition     = alltrue([for group in aws_cloudwatch_log_group.main : group.retention_in_days == 30])
    error_message = "A log group keeps its events for ever."
  }
  assert {
    condition = (
      jsondecode(aws_ecs_task_definition.app.container_definitions)[0].logConfiguration.options["awslogs-group"] == "/ecs/streamgate"
      && one(one(aws_codebuild_project.app[0].logs_config).cloudwatch_logs).group_name == "/aws/codebuild/streamgate"
      && toset([for log in aws_elasticache_replication_group.main.log_delivery_configuration : log.destination]) == toset(["/aws/elasticache/streamgate"])
    )
    error_message = "Something logs to another group than the one that is made for it."
  }

  # Policies

  assert {
    condition = alltrue(flatten([for policy in [aws_iam_role_policy.execution, aws_iam_role_policy.build[0], aws_iam_role_policy.pipeline[0]] :
      [for statement in jsondecode(policy.policy).Statement : [for action in flatten([statement.Action]) : !strcontains(action, "*")]]
    ]))
    error_message = "A role may do whatever a wildcard matches."
  }
  assert {
    condition = length(setsubtract(
      flatten([for policy in [aws_iam_role_policy.execution, aws_iam_role_policy.build[0], aws_iam_role_policy.pipeline[0]] :
        [for statement in jsondecode(policy.policy).Statement : statement.Action if contains(flatten([statement.Resource]), "*")]
      ]),
      ["ecr:GetAuthorizationToken", "ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition"]
    )) == 0
    error_message = "A role may do something to all resources that could be narrowed."
  }
  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.pipeline[0].policy).Statement : [toset(flatten([statement.Resource])), try(statement.Condition, null)] if contains(statement.Action, "iam:PassRole")] == [[
      toset(["arn:aws:iam::123456789012:role/streamgate-us-east-1-execution", "arn:aws:iam::123456789012:role/streamgate-us-east-1-task"]),
      { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } },
    ]]
    error_message = "The pipeline may pass other roles than the task's two, or to something else than ECS."
  }
  assert {
    condition     = !strcontains("${aws_iam_role_policy.execution.policy}${aws_iam_role_policy.build[0].policy}", "iam:")
    error_message = "Only the pipeline may pass a role."
  }
  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : toset(statement.Resource) if contains(statement.Action, "secretsmanager:GetSecretValue")] == [
      toset([for secret in aws_secretsmanager_secret.app : secret.arn])
    ]
    error_message = "Tasks are started with other secrets than their own."
  }
  assert {
    condition = alltrue(flatten([for policy in [aws_iam_role_policy.execution, aws_iam_role_policy.build[0]] :
      [for statement in jsondecode(policy.policy).Statement : [for action in statement.Action :
        !startswith(action, "ecr:") || action == "ecr:GetAuthorizationToken" || statement.Resource == aws_ecr_repository.app[0].arn
      ]]
    ]))
    error_message = "A role reaches other image repositories than ours."
  }
  assert {
    condition = alltrue([for role, service in {
      execution = "ecs-tasks", task = "ecs-tasks", build = "codebuild", pipeline = "codepipeline"
      } : jsondecode(
      { execution = aws_iam_role.execution, task = aws_iam_role.task, build = aws_iam_role.build[0], pipeline = aws_iam_role.pipeline[0] }[role].assume_role_policy
      ).Statement == [{
        Action    = "sts:AssumeRole"
        Condition = { StringEquals = { "aws:SourceAccount" = "123456789012" } }
        Effect    = "Allow"
        Principal = { Service = "${service}.amazonaws.com" }
    }]])
    error_message = "A role can be taken by another than its service, or from another account."
  }

  # Images and the pipeline

  assert {
    condition     = aws_ecr_repository.app[0].image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.app[0].image_scanning_configuration[0].scan_on_push
    error_message = "A tag may come to mean another image, or images are not scanned."
  }
  assert {
    condition = (
      aws_s3_bucket_public_access_block.artifacts[0].bucket == aws_s3_bucket.artifacts[0].id
      && aws_s3_bucket_public_access_block.artifacts[0].block_public_acls
      && aws_s3_bucket_public_access_block.artifacts[0].block_public_policy
      && aws_s3_bucket_public_access_block.artifacts[0].ignore_public_acls
      && aws_s3_bucket_public_access_block.artifacts[0].restrict_public_buckets
    )
    error_message = "The bucket of artifacts can be made public."
  }
  assert {
    condition = jsondecode(aws_s3_bucket_policy.artifacts[0].policy).Statement == [{
      Action    = "s3:*"
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
      Effect    = "Deny"
      Principal = "*"
      Resource  = [aws_s3_bucket.artifacts[0].arn, "${aws_s3_bucket.artifacts[0].arn}/*"]
      Sid       = "OnlyOverTls"
    }]
    error_message = "The bucket's policy allows something, or lets anything in without TLS."
  }
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.artifacts[0].rule).apply_server_side_encryption_by_default).sse_algorithm == "AES256"
    error_message = "Artifacts are not encrypted."
  }
  assert {
    condition = { for one in aws_codebuild_project.app[0].environment[0].environment_variable : one.name => one.value } == {
      REPOSITORY_URL = aws_ecr_repository.app[0].repository_url
      IMAGES_URL     = "s3://${aws_s3_bucket.artifacts[0].bucket}/images"
      CONTAINER_NAME = jsondecode(aws_ecs_task_definition.app.container_definitions)[0].name
    }
    error_message = "The build is not given what buildspec.yml reads."
  }
  assert {
    condition     = aws_codebuild_project.app[0].service_role == aws_iam_role.build[0].arn && aws_codepipeline.app[0].role_arn == aws_iam_role.pipeline[0].arn
    error_message = "The build or the pipeline runs with another role than its own."
  }
  assert {
    condition     = [for stage in aws_codepipeline.app[0].stage : [for action in stage.action : action.provider]] == [["CodeStarSourceConnection"], ["CodeBuild"], ["ECS", "CodeBuild"]]
    error_message = "The pipeline does something else than fetch, build, deploy, and record the deployment."
  }
  assert {
    condition = (
      aws_codepipeline.app[0].stage[2].action[1].run_order > aws_codepipeline.app[0].stage[2].action[0].run_order
      && jsondecode(aws_codepipeline.app[0].stage[2].action[1].configuration.EnvironmentVariables) == [{ name = "IMAGE_TAG_PARAMETER", value = "/streamgate/image-tag", type = "PLAINTEXT" }]
      && aws_ssm_parameter.image_tag.name == "/streamgate/image-tag"
    )
    error_message = "The tag is written before the deployment has succeeded, or into another parameter than the task definition reads."
  }
  assert {
    condition = aws_codepipeline.app[0].stage[2].action[0].configuration == tomap({
      ClusterName       = "streamgate"
      DeploymentTimeout = "20"
      FileName          = "imagedefinitions.json"
      ServiceName       = "streamgate"
    })
    error_message = "The pipeline deploys something else than what the build writes, or elsewhere."
  }

  # Scaling

  assert {
    condition = (
      aws_appautoscaling_target.app.resource_id == "service/streamgate/streamgate"
      && aws_appautoscaling_policy.requests.target_tracking_scaling_policy_configuration[0].predefined_metric_specification[0].resource_label == "${aws_lb.main.arn_suffix}/${aws_lb_target_group.app.arn_suffix}"
    )
    error_message = "Auto scaling looks at another service or load balancer."
  }
  assert {
    condition     = aws_appautoscaling_policy.requests.target_tracking_scaling_policy_configuration[0].target_value == 24000
    error_message = "Auto scaling adds tasks at another load than documented."
  }
}

run "full_environment" {
  variables {
    media_signing   = "secure-link"
    media_base_url  = "https://cdn.example.com"
    callback_url    = "https://receiver.example.com/hooks"
    callback_events = ["session.started", "session.moved", "session.ended", "session.expired", "session.refused"]
    app_environment = { LOG_LEVEL = "warn", MAX_SESSIONS_PER_USER = "5" }
    # In the state of the first run: neither undoes what auto scaling and the pipeline have set since.
    min_tasks         = 3
    initial_image_tag = "another"
  }

  assert {
    condition     = aws_ecs_service.app.desired_count == 2 && aws_appautoscaling_target.app.min_capacity == 3 && aws_ssm_parameter.image_tag.insecure_value == "none-yet"
    error_message = "An apply undoes what auto scaling or the pipeline has set."
  }

  assert {
    condition = (
      { for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment : one.name => one.value }
      == { for name, value in jsondecode(file("./tests/environment.json")).full.environment : name => value }
    )
    error_message = "The environment is not that of tests/environment.json, which src/config.ts is held against as well."
  }
  assert {
    condition = (
      { for name, version in aws_secretsmanager_secret_version.app : name => version.secret_string }
      == { for name, value in jsondecode(file("./tests/environment.json")).full.secrets : name => value }
    )
    error_message = "The secrets are not those of tests/environment.json, which src/config.ts is held against as well."
  }
  assert {
    condition = (
      { for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].secrets : one.name => one.valueFrom }
      == { for name, secret in aws_secretsmanager_secret.app : name => secret.arn }
    )
    error_message = "A secret is not given, or another one in its place."
  }
  assert {
    condition = length(setsubtract(
      concat(keys(jsondecode(file("./tests/environment.json")).full.environment), keys(jsondecode(file("./tests/environment.json")).full.secrets)),
      concat(local.reserved_names, keys(var.app_environment))
    )) == 0
    error_message = "app_environment may overwrite what the stack gives: add its name to reserved_names."
  }
}

run "cloudfront" {
  variables {
    media_base_url         = "https://d111111abcdef8.cloudfront.net"
    media_signing          = "cloudfront"
    cloudfront_key_pair_id = "K2JCJMDEHXQW5F"
  }

  assert {
    condition = (
      { for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment : one.name => one.value }
      == { for name, value in jsondecode(file("./tests/environment.json")).cloudfront.environment : name => value }
    )
    error_message = "The environment is not that of tests/environment.json, which src/config.ts is held against as well."
  }
  assert {
    condition = (
      { for name, version in aws_secretsmanager_secret_version.app : name => version.secret_string }
      == { for name, value in jsondecode(file("./tests/environment.json")).cloudfront.secrets : name => value }
    )
    error_message = "Terraform draws a secret that it is given, which would be in its state, or one that nobody needs."
  }
  assert {
    condition = (
      { for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].secrets : one.name => one.valueFrom }
      == { for name, secret in aws_secretsmanager_secret.app : name => secret.arn }
    )
    error_message = "A secret is not given, or another one in its place."
  }
  assert {
    condition = toset(keys(aws_secretsmanager_secret.app)) == toset(concat(
      keys(jsondecode(file("./tests/environment.json")).cloudfront.secrets),
      jsondecode(file("./tests/environment.json")).cloudfront.given
    ))
    error_message = "There is no secret to put the private key into, or one that nobody needs."
  }
  assert {
    condition = alltrue([for secret in aws_secretsmanager_secret.app :
      contains(flatten([for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement.Resource]), secret.arn)
    ])
    error_message = "A task may not read a secret that it names."
  }
  assert {
    condition     = length(setsubtract(concat(keys(local.environment), keys(aws_secretsmanager_secret.app)), local.reserved_names)) == 0
    error_message = "app_environment may overwrite what the stack gives: add its name to reserved_names."
  }
}

run "media_that_nobody_signs" {
  variables {
    media_signing = "none"
  }

  assert {
    condition     = contains(jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment, { name = "MEDIA_SIGNING", value = "none" })
    error_message = "The service signs all the same."
  }
  assert {
    condition     = toset(keys(aws_secretsmanager_secret.app)) == toset(["INTERNAL_API_TOKEN", "REDIS_PASSWORD"])
    error_message = "There is a secret that nobody needs."
  }
}

run "authentication" {
  variables {
    auth_mode     = "jwt"
    auth_jwks_url = "https://issuer.example.com/.well-known/jwks.json"
    auth_issuer   = "https://issuer.example.com"
    auth_audience = "streamgate"
    # Then tickets have no secret of media to be signed with.
    media_signing = "none"
  }

  assert {
    condition = (
      { for one in jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment : one.name => one.value }
      == { for name, value in jsondecode(file("./tests/environment.json")).jwt.environment : name => value }
    )
    error_message = "The environment is not that of tests/environment.json, which src/config.ts is held against as well."
  }
  assert {
    condition = (
      { for name, version in aws_secretsmanager_secret_version.app : name => version.secret_string }
      == { for name, value in jsondecode(file("./tests/environment.json")).jwt.secrets : name => value }
    )
    error_message = "The secrets are not those of tests/environment.json, which src/config.ts is held against as well."
  }
  assert {
    condition     = length(setsubtract(concat(keys(local.environment), keys(aws_secretsmanager_secret.app)), local.reserved_names)) == 0
    error_message = "app_environment may overwrite what the stack gives: add its name to reserved_names."
  }
}

# The switches, all at once: none touches what another does.
run "switches" {
  variables {
    execute_command_enabled = true
    firewall_enabled        = false
    redis_shard_count       = 4
    deletion_protection     = true
    task_cpu                = 1024
    task_memory             = 2048
  }

  assert {
    condition = (
      !jsondecode(aws_ecs_task_definition.app.container_definitions)[0].readonlyRootFilesystem
      && aws_ecs_service.app.enable_execute_command
      && toset(flatten([for statement in jsondecode(aws_iam_role_policy.task[0].policy).Statement : statement.Action if contains(flatten([statement.Resource]), "*")])) == toset([
        "logs:DescribeLogGroups", "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
      ])
    )
    error_message = "ECS Exec lacks something, or may do more than it needs."
  }
  assert {
    condition     = length(aws_wafv2_web_acl.main) + length(aws_wafv2_web_acl_association.main) + length(aws_wafv2_web_acl_logging_configuration.main) == 0 && !contains(keys(aws_cloudwatch_log_group.main), "firewall")
    error_message = "Something of the firewall remains."
  }
  assert {
    condition = (
      aws_elasticache_replication_group.main.num_node_groups == 4
      && aws_elasticache_replication_group.main.replicas_per_node_group == 1
      && aws_elasticache_replication_group.main.automatic_failover_enabled
      && { for parameter in aws_elasticache_parameter_group.main.parameter : parameter.name => parameter.value } == { cluster-enabled = "yes", maxmemory-policy = "noeviction" }
    )
    error_message = "Redis is not in cluster mode, with four shards of two."
  }
  assert {
    condition = (
      contains(jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment, { name = "REDIS_CLUSTER", value = "true" })
      && contains(jsondecode(aws_ecs_task_definition.app.container_definitions)[0].environment, { name = "REDIS_URL", value = "rediss://configuration.redis.example:6379" })
    )
    error_message = "The service is not told that Redis is in cluster mode, or where."
  }
  assert {
    condition     = aws_lb.main.enable_deletion_protection && !aws_ecr_repository.app[0].force_delete
    error_message = "Load balancer or images do not withstand terraform destroy."
  }
  assert {
    condition     = aws_appautoscaling_policy.requests.target_tracking_scaling_policy_configuration[0].target_value == 96000
    error_message = "A task of four times the size is scaled out as early as the smallest."
  }
}

# Everything that costs money or adds parts, in a network of private tasks.
run "private_tasks" {
  variables {
    task_network                  = "nat"
    ipv6_enabled                  = true
    latency_routing_enabled       = true
    metrics_agent_enabled         = true
    alarm_emails                  = ["ops@example.com"]
    scraper_security_group_ids    = ["sg-0123456789abcdef0"]
    staging_stack                 = "streamgate-staging"
    deployment_approval_required  = true
    redis_engine                  = "valkey"
    redis_snapshot_retention_days = 7
    cpu_architecture              = "ARM64"
    spot_percentage               = 70
    container_insights            = "enhanced"
    access_logs_enabled           = true
    flow_logs_enabled             = true
    permissions_boundary_arn      = "arn:aws:iam::123456789012:policy/boundary"
    kms_key_arn                   = "arn:aws:kms:us-east-1:123456789012:key/01234567-0123-0123-0123-0123456789ab"
  }

  assert {
    condition = (
      aws_ecs_service.app.network_configuration[0].subnets == toset([for subnet in aws_subnet.task : subnet.id])
      && !aws_ecs_service.app.network_configuration[0].assign_public_ip
      && length(aws_nat_gateway.main) == 2
      && alltrue([for zone, route in aws_route.nat : route.nat_gateway_id == aws_nat_gateway.main[zone].id && route.route_table_id == aws_route_table.task[zone].id])
      && alltrue([for zone, gateway in aws_nat_gateway.main : gateway.subnet_id == aws_subnet.public[zone].id])
    )
    error_message = "Tasks are not private, or a zone has no NAT gateway of its own."
  }
  assert {
    condition     = length(toset([for subnet in concat(values(aws_subnet.public), values(aws_subnet.private), values(aws_subnet.task)) : subnet.cidr_block])) == 6
    error_message = "Two subnets have the same addresses."
  }
  assert {
    condition     = aws_lb.main.ip_address_type == "dualstack" && toset(keys(aws_route53_record.app)) == toset(["A", "AAAA"]) && alltrue([for record in aws_route53_record.app : record.set_identifier == "us-east-1"])
    error_message = "Clients do not reach the service by IPv6, or all regions would want the same record."
  }
  assert {
    condition = (
      yamldecode(jsondecode(aws_ecs_task_definition.agent[0].container_definitions)[0].environment[0].value).receivers.prometheus.config.scrape_configs[0].dns_sd_configs[0].names == ["app.streamgate.internal"]
      && yamldecode(jsondecode(aws_ecs_task_definition.agent[0].container_definitions)[0].environment[0].value).receivers.prometheus.config.scrape_configs[0].dns_sd_configs[0].port == 8081
      && aws_vpc_security_group_ingress_rule.ecs_from_agent[0].referenced_security_group_id == aws_security_group.agent[0].id
      && aws_ecs_service.agent[0].network_configuration[0].security_groups == toset([aws_security_group.agent[0].id])
    )
    error_message = "The agent does not find the tasks, or they do not let it in."
  }
  assert {
    condition     = length(setsubtract([for alarm in local.streamgate_alarms : alarm.metric], local.agent_metrics)) == 0 && length(local.streamgate_alarms) == 6
    error_message = "An alarm waits for a metric that the agent does not keep."
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.ecs_from_scrapers["sg-0123456789abcdef0"].security_group_id == aws_security_group.ecs.id
    error_message = "The scraper is not let in."
  }
  assert {
    condition     = [for stage in aws_codepipeline.app[0].stage : stage.name] == ["Source", "Build", "Staging", "Approval", "Deploy"]
    error_message = "The pipeline does not deploy to staging, wait for approval, and deploy."
  }
  assert {
    condition = (
      aws_codepipeline.app[0].stage[2].action[0].configuration.ServiceName == "streamgate-staging"
      && jsondecode(aws_codepipeline.app[0].stage[2].action[1].configuration.EnvironmentVariables)[0].value == "/streamgate-staging/image-tag"
      && aws_codepipeline.app[0].stage[3].action[0].configuration.NotificationArn == aws_sns_topic.alarms[0].arn
    )
    error_message = "Staging is another service than the staging stack's, or nobody hears of an approval that is waited for."
  }
  assert {
    condition = (
      aws_elasticache_replication_group.main.engine == "valkey" && aws_elasticache_parameter_group.main.family == "valkey8"
      && aws_elasticache_replication_group.main.snapshot_retention_limit == 7
    )
    error_message = "Redis is not Valkey, or has no snapshots."
  }
  assert {
    condition     = { for strategy in aws_ecs_service.app.capacity_provider_strategy : strategy.capacity_provider => "${strategy.weight} ${coalesce(strategy.base, 0)}" } == { FARGATE = "30 1", FARGATE_SPOT = "70 0" }
    error_message = "Not seventy per cent of tasks run on Spot, with one that never does."
  }
  assert {
    condition     = aws_ecs_task_definition.app.runtime_platform[0].cpu_architecture == "ARM64" && aws_codebuild_project.app[0].environment[0].type == "ARM_CONTAINER"
    error_message = "Tasks and builds are not for ARM."
  }
  assert {
    condition = alltrue([for role in concat([aws_iam_role.execution, aws_iam_role.task], aws_iam_role.build, aws_iam_role.record, aws_iam_role.pipeline, aws_iam_role.agent) :
      role.permissions_boundary == var.permissions_boundary_arn
    ])
    error_message = "A role is without the boundary."
  }
  assert {
    condition = (
      alltrue([for group in aws_cloudwatch_log_group.main : group.kms_key_id == var.kms_key_arn])
      && alltrue([for secret in aws_secretsmanager_secret.app : secret.kms_key_id == var.kms_key_arn])
      && aws_elasticache_replication_group.main.kms_key_id == var.kms_key_arn
      && aws_ecr_repository.app[0].encryption_configuration[0].kms_key == var.kms_key_arn
      && aws_codepipeline.app[0].artifact_store != null
      && one(one(aws_s3_bucket_server_side_encryption_configuration.artifacts[0].rule).apply_server_side_encryption_by_default).kms_master_key_id == var.kms_key_arn
    )
    error_message = "Something is encrypted with another key than the customer's."
  }
  assert {
    condition     = aws_lb.main.access_logs[0].enabled && aws_lb.main.access_logs[0].bucket == aws_s3_bucket.logs[0].bucket && aws_flow_log.main[0].vpc_id == aws_vpc.main[0].id
    error_message = "The load balancer or the VPC writes no log."
  }
}

# A stack that another one's pipeline deploys to, whose tasks have no way to the internet.
run "staging" {
  # A state of its own: the first run's tag of the image would stay.
  state_key = "staging"

  variables {
    name              = "streamgate-staging"
    deployed_by_stack = "streamgate"
    initial_image_tag = "0123456789ab-42"
    task_network      = "endpoints"
    alarms_enabled    = false
    dashboard_enabled = false
  }

  assert {
    condition = (
      length(aws_codepipeline.app) + length(aws_codebuild_project.app) + length(aws_ecr_repository.app) + length(aws_s3_bucket.artifacts) + length(aws_iam_role.build) == 0
      && output.pipeline_name == null && output.connection_arn == null && output.images_location == null
    )
    error_message = "A stack without a pipeline has parts of one."
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.app.container_definitions)[0].image == "123456789012.dkr.ecr.us-east-1.amazonaws.com/streamgate:0123456789ab-42"
    error_message = "The image is not of the other stack's repository, or not the one that the input names."
  }
  assert {
    condition     = length(aws_route.nat) == 0 && toset(keys(aws_vpc_endpoint.interface)) == toset(["ecr.api", "ecr.dkr", "logs", "secretsmanager"]) && length(aws_vpc_endpoint.s3) == 1
    error_message = "Tasks have a way to the internet, or none to what ECS needs."
  }
  assert {
    condition     = alltrue([for endpoint in aws_vpc_endpoint.interface : endpoint.security_group_ids == toset([aws_security_group.endpoints[0].id]) && endpoint.private_dns_enabled])
    error_message = "An endpoint is not behind its own group, or nobody finds it."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.main) + length(aws_sns_topic.alarms) + length(aws_cloudwatch_dashboard.main) == 0 && length(aws_ecs_service.app.alarms) == 0
    error_message = "There are alarms that nobody asked for."
  }
}

run "existing_network" {
  variables {
    existing_network = {
      vpc_id                    = "vpc-0123456789abcdef0"
      cidr_blocks               = ["10.1.0.0/16", "10.2.0.0/16"]
      public_subnet_ids         = ["subnet-1", "subnet-2"]
      task_subnet_ids           = ["subnet-3", "subnet-4"]
      redis_subnet_ids          = ["subnet-5", "subnet-6"]
      tasks_have_public_address = false
    }
    auth_mode       = "jwt"
    auth_public_key = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkq\n-----END PUBLIC KEY-----\n"
    auth_issuer     = "https://issuer.example.com"
    auth_audience   = "streamgate"
  }

  assert {
    condition     = length(aws_vpc.main) + length(aws_subnet.public) + length(aws_subnet.private) + length(aws_route.internet) + length(aws_internet_gateway.main) == 0
    error_message = "The stack makes parts of a network beside the one that is there."
  }
  assert {
    condition = (
      aws_lb.main.subnets == toset(["subnet-1", "subnet-2"])
      && aws_ecs_service.app.network_configuration[0].subnets == toset(["subnet-3", "subnet-4"])
      && aws_elasticache_subnet_group.main.subnet_ids == toset(["subnet-5", "subnet-6"])
      && alltrue([for group in [aws_security_group.alb, aws_security_group.ecs, aws_security_group.redis] : group.vpc_id == "vpc-0123456789abcdef0"])
    )
    error_message = "Something is not in the network that is there."
  }
  assert {
    condition = (
      local.environment.TRUSTED_PROXIES == "10.1.0.0/16,10.2.0.0/16"
      && local.environment.AUTH_JWT_PUBLIC_KEY == "-----BEGIN PUBLIC KEY-----\\nMIIBIjANBgkq\\n-----END PUBLIC KEY-----"
      && !contains(keys(local.environment), "AUTH_JWKS_URL")
    )
    error_message = "The service does not trust the load balancer, or does not get the public key."
  }
}
