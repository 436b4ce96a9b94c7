import { ConfigError, readConfig } from './config.js';

const warnings = (...names: string[]): readonly string[] =>
  readConfig(Object.fromEntries(names.map((name) => [name, 'value']))).warnings;

describe('an unknown variable', () => {
  it.each([
    // A typing error.
    ['MAX_SESSION_PER_USER', 'MAX_SESSIONS_PER_USER'],
    ['PROT', 'PORT'],
    ['PORTS', 'PORT'],
    ['HOSTS', 'HOST'],
    ['PHASE_SECOND', 'PHASE_SECONDS'],
    ['SESSIONS_STORE', 'SESSION_STORE'],
    ['TRUSTED_PROXY', 'TRUSTED_PROXIES'],
    ['max_sessions_per_user', 'MAX_SESSIONS_PER_USER'],
    // A first word that only variables of this service have.
    ['REDIS_USER', 'REDIS_URL'],
    ['REDIS_PORT', 'REDIS_URL'],
    ['CALLBACK_TRIES', 'CALLBACK_MAX_TRIES'],
    ['RATE_LIMIT', 'RATE_LIMIT_PER_USER'],
    ['LOG_FILE', 'LOG_LEVEL'],
    ['CORS_ORIGINS', 'CORS_ALLOWED_ORIGINS'],
    ['AUTH_JWT_KEY', 'AUTH_JWT_PUBLIC_KEY'],
    ['OTEL_SERVICE_NAMES', 'OTEL_SERVICE_NAME'],
    // A common first word, and another word of the same variable.
    ['MAX_PAUSE', 'MAX_PAUSE_SECONDS'],
    ['MAX_SESSIONS', 'MAX_SESSIONS_CEILING'],
    ['API_TOKEN', 'API_TOKENS'],
    // A file for a variable that is no secret, and a prefix.
    ['PORT_FILE', 'PORT'],
    ['MEDIA_BASE_URL_FILE', 'MEDIA_BASE_URL'],
    ['STREAMGATE_REDIS_URL', 'REDIS_URL'],
    ['STREAMGATE_MODE', 'AUTH_MODE'],
  ])('such as %s gets a warning that names the nearest variable, %s', (name, nearest) => {
    expect(warnings(name)).toEqual([
      `${name} is unknown and has no effect: the nearest variable is ${nearest}`,
    ]);
  });

  it('gets no warning if it belongs to another program', () => {
    const others = [
      'HOME HOSTNAME PATH PWD OLDPWD USER LOGNAME SHELL SHLVL TERM LANG LC_ALL TZ EDITOR _ DISPLAY TMPDIR MAIL',
      'NODE_ENV NODE_OPTIONS NODE_EXTRA_CA_CERTS NODE_VERSION YARN_VERSION npm_config_cache npm_package_name INIT_CWD',
      'MAX_OLD_SPACE_SIZE SESSION_MANAGER XDG_SESSION_ID API_URL API_KEY BUILD_ID BUILD_NUMBER CI DEBUG NO_COLOR',
      'HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy SSH_AUTH_SOCK DBUS_SESSION_BUS_ADDRESS DOCKER_HOST PORTAGE_TMPDIR',
      'AWS_REGION AWS_CONTAINER_CREDENTIALS_RELATIVE_URI ECS_CONTAINER_METADATA_URI_V4 KUBERNETES_PORT',
      'KUBERNETES_SERVICE_HOST REDIS_SERVICE_HOST REDIS_SERVICE_PORT_TLS REDIS_PORT_6379_TCP REDIS_PORT_6379_TCP_ADDR',
      'STREAMGATE_SERVICE_HOST STREAMGATE_PORT_3000_TCP_PROTO POSTGRES_PASSWORD PGPASSWORD MYSQL_HOST',
      'OTEL_METRICS_EXPORTER OTEL_LOGS_EXPORTER OTEL_PROPAGATORS OTEL_BSP_SCHEDULE_DELAY OTEL_EXPORTER_OTLP_TIMEOUT',
      'OTEL_EXPORTER_OTLP_METRICS_ENDPOINT OTEL_NODE_ENABLED_INSTRUMENTATIONS',
    ];
    expect(warnings(...others.flatMap((line) => line.split(' ')))).toEqual([]);
  });

  it('gets no warning if Kubernetes set it, and one if a person did', () => {
    expect(readConfig({ REDIS_PORT: 'tcp://10.0.0.1:6379' }).warnings).toEqual([]);
    expect(readConfig({ REDIS_PORT: '6379' }).warnings).toHaveLength(1);
  });

  it('is named once, without its value', () => {
    const lines = warnings('REDIS_ULR', 'PHASE_SECOND', 'MAX_OLD_SPACE_SIZE');
    expect(lines.map((line) => line.split(' ', 1)[0])).toEqual(['REDIS_ULR', 'PHASE_SECOND']);
    expect(lines.join()).not.toContain('value');
  });

  it('is named beside the error that it causes, if the service does not start', () => {
    const start = () => readConfig({ NODE_ENV: 'production', AUTH_MODE: 'none', REDIS_ULR: 'redis://value' });
    expect(start).toThrow(ConfigError);
    expect(start).toThrow(/SESSION_STORE: [^]*REDIS_ULR is unknown .* REDIS_URL/);
    expect(start).not.toThrow(/value/);
  });
});
