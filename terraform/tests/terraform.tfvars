# Read by `terraform test` by itself. A port that is no default, so that a test can tell who reads it.
hosted_zone_name  = "example.com"
domain_name       = "gate.example.com"
source_repository = "example/streamgate"
stream_origin     = "https://media.example.com/{stream_id}/index.m3u8"
auth_mode         = "none"
app_port          = 8080
operator_port     = 8081
