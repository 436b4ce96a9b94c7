locals {
  # Made here once and kept: each plan draws anew, and the first draw stays. To draw again, replace the version.
  drawn_secrets = merge(
    {
      REDIS_PASSWORD     = ""
      INTERNAL_API_TOKEN = ""
    },
    contains(["hmac", "secure-link"], var.media_signing) ? { MEDIA_SIGNING_SECRET = "" } : {},
    # By itself, so that either can be drawn again without the other.
    var.auth_mode == "jwt" ? { TICKET_SECRET = "" } : {},
    # 64 letters and digits are base64 of 48 bytes, because 64 is a multiple of 4.
    var.callback_url == null ? {} : { CALLBACK_SECRET = "whsec_" },
  )
  # Put by hand (README.md), and never in the state: the public half was given to CloudFront before.
  given_secrets = var.media_signing == "cloudfront" ? ["CLOUDFRONT_PRIVATE_KEY"] : []
}

data "aws_secretsmanager_random_password" "app" {
  for_each = local.drawn_secrets

  password_length     = 64
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "app" {
  for_each = toset(concat(keys(local.drawn_secrets), local.given_secrets))

  # A prefix: a name cannot be made again until days after it was destroyed.
  name_prefix = "${var.name}/${each.key}-"
  description = "${each.key} of ${var.name}"
  kms_key_id  = var.kms_key_arn
}

resource "aws_secretsmanager_secret_version" "app" {
  for_each = local.drawn_secrets

  secret_id     = aws_secretsmanager_secret.app[each.key].id
  secret_string = "${each.value}${data.aws_secretsmanager_random_password.app[each.key].random_password}"
  # A label of ours: AWS deletes a version that bears none, which is this one once the secret was put by hand twice.
  # Terraform would then draw a new one and put it in the place of what was put.
  version_stages = ["AWSCURRENT", "drawn-by-terraform"]

  lifecycle {
    ignore_changes = [secret_string, version_stages]
  }
}
