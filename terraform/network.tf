data "aws_availability_zones" "available" {
  state = "available"

  # Neither Local Zones nor zones that an account must opt in to.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  own_network   = var.existing_network == null
  private_tasks = local.own_network && var.task_network != "public"

  zones = slice(
    sort(data.aws_availability_zones.available.names), 0,
    min(var.availability_zone_count, length(data.aws_availability_zones.available.names))
  )
  subnets      = local.own_network ? { for index, zone in local.zones : zone => index } : {}
  task_subnets = local.private_tasks ? local.subnets : {}

  # The rest of the stack reads the network from here, whether the stack made it or not.
  network = local.own_network ? {
    vpc_id                    = aws_vpc.main[0].id
    cidr_blocks               = [aws_vpc.main[0].cidr_block]
    public_subnet_ids         = [for subnet in aws_subnet.public : subnet.id]
    task_subnet_ids           = [for subnet in local.private_tasks ? aws_subnet.task : aws_subnet.public : subnet.id]
    redis_subnet_ids          = [for subnet in aws_subnet.private : subnet.id]
    tasks_have_public_address = !local.private_tasks
  } : var.existing_network
}

resource "aws_vpc" "main" {
  count = local.own_network ? 1 : 0

  cidr_block                       = var.vpc_cidr
  assign_generated_ipv6_cidr_block = var.ipv6_enabled
  enable_dns_support               = true
  enable_dns_hostnames             = true # Service discovery needs both.
  tags                             = { Name = var.name }

  lifecycle {
    precondition {
      condition     = length(data.aws_availability_zones.available.names) >= var.availability_zone_count
      error_message = "Lower availability_zone_count: ${local.region} has ${length(data.aws_availability_zones.available.names)} zones."
    }
  }
}

# A resource that names no security group gets this one, which lets nothing through.
resource "aws_default_security_group" "closed" {
  count = local.own_network ? 1 : 0

  vpc_id = aws_vpc.main[0].id
}

resource "aws_internet_gateway" "main" {
  count = local.own_network ? 1 : 0

  vpc_id = aws_vpc.main[0].id
  tags   = { Name = var.name }
}

# Public tier: load balancer and, by default, tasks. One subnet in each zone.
resource "aws_subnet" "public" {
  for_each = local.subnets

  vpc_id            = aws_vpc.main[0].id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.vpc_cidr, 4, each.value)
  ipv6_cidr_block   = var.ipv6_enabled ? cidrsubnet(aws_vpc.main[0].ipv6_cidr_block, 8, each.value) : null
  tags              = { Name = "${var.name}-public-${each.key}" }
}

resource "aws_route_table" "public" {
  count = local.own_network ? 1 : 0

  vpc_id = aws_vpc.main[0].id
  tags   = { Name = "${var.name}-public" }
}

resource "aws_route" "internet" {
  count = local.own_network ? 1 : 0

  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.main[0].id
}

resource "aws_route" "internet_ipv6" {
  count = local.own_network && var.ipv6_enabled ? 1 : 0

  route_table_id              = aws_route_table.public[0].id
  destination_ipv6_cidr_block = "::/0"
  gateway_id                  = aws_internet_gateway.main[0].id
}

resource "aws_route_table_association" "public" {
  for_each = local.subnets

  subnet_id      = aws_subnet.public[each.key].id
  route_table_id = aws_route_table.public[0].id
}

# Private tier: Redis. Its route table has no way out of the VPC.
resource "aws_subnet" "private" {
  for_each = local.subnets

  vpc_id            = aws_vpc.main[0].id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.vpc_cidr, 4, 8 + each.value)
  tags              = { Name = "${var.name}-private-${each.key}" }
}

resource "aws_route_table" "private" {
  count = local.own_network ? 1 : 0

  vpc_id = aws_vpc.main[0].id
  tags   = { Name = "${var.name}-private" }
}

resource "aws_route_table_association" "private" {
  for_each = local.subnets

  subnet_id      = aws_subnet.private[each.key].id
  route_table_id = aws_route_table.private[0].id
}

# Task tier: exists only if task_network is "nat" or "endpoints".
resource "aws_subnet" "task" {
  for_each = local.task_subnets

  vpc_id            = aws_vpc.main[0].id
  availability_zone = each.key
  # Half a sixteenth each, from the sixteenths that the other two tiers leave free.
  cidr_block = cidrsubnet(var.vpc_cidr, 5, [12, 13, 14, 15, 28, 29][each.value])
  tags       = { Name = "${var.name}-task-${each.key}" }
}

resource "aws_route_table" "task" {
  for_each = local.task_subnets

  vpc_id = aws_vpc.main[0].id
  tags   = { Name = "${var.name}-task-${each.key}" }
}

resource "aws_route_table_association" "task" {
  for_each = local.task_subnets

  subnet_id      = aws_subnet.task[each.key].id
  route_table_id = aws_route_table.task[each.key].id
}

# One NAT gateway in each zone: a zone that fails takes no other zone with it.
resource "aws_eip" "nat" {
  for_each = var.task_network == "nat" ? local.task_subnets : {}

  domain = "vpc"
  tags   = { Name = "${var.name}-nat-${each.key}" }
}

resource "aws_nat_gateway" "main" {
  for_each = aws_eip.nat

  allocation_id = each.value.id
  subnet_id     = aws_subnet.public[each.key].id
  tags          = { Name = "${var.name}-${each.key}" }

  depends_on = [aws_internet_gateway.main]
}

resource "aws_route" "nat" {
  for_each = aws_nat_gateway.main

  route_table_id         = aws_route_table.task[each.key].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = each.value.id
}

# Image layers come from S3, and this endpoint costs nothing.
resource "aws_vpc_endpoint" "s3" {
  count = local.private_tasks ? 1 : 0

  vpc_id            = aws_vpc.main[0].id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${local.region}.s3"
  route_table_ids   = [for table in aws_route_table.task : table.id]
  tags              = { Name = "${var.name}-s3" }
}

# What ECS needs to start a task that has no way to the internet.
resource "aws_vpc_endpoint" "interface" {
  for_each = toset(local.private_tasks && var.task_network == "endpoints" ? concat(
    ["ecr.api", "ecr.dkr", "logs", "secretsmanager"],
    var.execute_command_enabled ? ["ssmmessages"] : [],
  ) : [])

  vpc_id              = aws_vpc.main[0].id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${local.region}.${each.key}"
  subnet_ids          = [for subnet in aws_subnet.task : subnet.id]
  security_group_ids  = [aws_security_group.endpoints[0].id]
  private_dns_enabled = true
  tags                = { Name = "${var.name}-${each.key}" }
}
