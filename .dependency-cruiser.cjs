/** The registry of metrics is for every module to feed. */
const METRICS = '^src/observability/(metrics|series)\\.ts$';

/** The architecture as rules; ARCHITECTURE.md says why in more words. */
module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      comment: 'Two modules that need each other are one module, or want a third.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'no-orphans',
      comment: 'What nobody imports is dead, or an entry point that is not declared.',
      severity: 'error',
      from: {
        orphan: true,
        pathNot: [
          '^src/(cli/)?main\\.ts$',
          '\\.spec\\.ts$',
          '^test/support/global-',
          '^bench/',
          '\\.d\\.ts$',
        ],
      },
      to: {},
    },
    {
      name: 'the-rule-imports-nothing',
      comment:
        'admission.ts, with the value that it judges by, is the specification: readable and testable alone, without a library, a type of one, or a clock.',
      severity: 'error',
      from: { path: '^src/sessions/(admission|quota|device)\\.ts$' },
      to: { pathNot: '^src/sessions/(quota|device)\\.ts$' },
    },
    {
      name: 'auth-knows-nothing-to-protect',
      comment:
        'It tells any module who is asking and what their plan allows; what that means is decided by the module that has it.',
      severity: 'error',
      from: { path: '^src/auth/' },
      to: {
        path: '^src/(sessions|streams|gate|expiry|callbacks|observability)/',
        pathNot: [METRICS, '^src/sessions/(quota|device)\\.ts$'],
      },
    },
    {
      name: 'the-audit-knows-nothing-that-is-changed',
      comment: 'Each module records its own changes there, in the words of the audit.',
      severity: 'error',
      from: { path: '^src/audit/' },
      to: { path: '^src/(sessions|streams|gate|expiry|callbacks|observability)/' },
    },
    {
      name: 'sessions-know-nobody',
      comment: 'Every other module builds on Sessions; an import in the other direction would make them one.',
      severity: 'error',
      from: { path: '^src/sessions/' },
      to: { path: '^src/(streams|gate|expiry|callbacks|observability)/', pathNot: METRICS },
    },
    {
      name: 'streams-expiry-and-callbacks-never-meet',
      comment:
        'They share the store through Sessions and nothing else, so that each can change or leave alone.',
      severity: 'error',
      from: { path: '^src/(streams|expiry|callbacks)/' },
      to: { path: '^src/(streams|expiry|callbacks)/', pathNot: '^src/$1/' },
    },
    {
      name: 'formats-behind-their-interface',
      comment:
        'Finding streams, cutting them into phases and signing URLs are the same for every format; the module picks the format, and the controller of a format speaks it.',
      severity: 'error',
      from: { path: '^src/streams/', pathNot: '^src/streams/(hls/|streams\\.module\\.ts$|.*\\.spec\\.ts$)' },
      to: { path: '^src/streams/hls/' },
    },
    {
      name: 'the-gate-decides-without-http-or-a-format',
      comment: 'Its decisions are values, so that any format and any transport can stand in front of them.',
      severity: 'error',
      from: { path: '^src/gate/gate\\.service\\.ts$' },
      to: { path: '^src/(http|streams)/|node_modules/fastify/' },
    },
    {
      name: 'nobody-needs-the-gate',
      comment: 'The gate stands on Streams and Sessions; nothing stands on the gate.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(gate/|app\\.module\\.ts$)' },
      to: { path: '^src/gate/' },
    },
    {
      name: 'the-gate-leaves-expiry-and-callbacks-alone',
      comment: 'It admits sessions and serves streams; reclaiming and reporting are not its work.',
      severity: 'error',
      from: { path: '^src/gate/' },
      to: { path: '^src/(expiry|callbacks)/' },
    },
    {
      name: 'nobody-needs-the-console',
      comment: 'It is for people, and is not loaded without CONSOLE=on.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(console/|app\\.module\\.ts$)' },
      to: { path: '^src/console/' },
    },
    {
      name: 'one-place-names-the-stores',
      comment: 'Everybody else asks for the port, so that a store can be swapped in one line.',
      severity: 'error',
      from: {
        path: '^src/',
        pathNot: [
          '\\.spec\\.ts$',
          '^src/sessions/sessions\\.module\\.ts$',
          '^src/sessions/(memory|redis)/',
          '^src/cli/',
        ],
      },
      to: { path: '^src/sessions/(memory|redis)/' },
    },
    {
      name: 'stores-do-not-know-each-other',
      comment: 'They share the port and the rule; a helper of one used by the other would tie them together.',
      severity: 'error',
      from: { path: '^src/sessions/(memory|redis)/' },
      to: { path: '^src/sessions/(memory|redis)/', pathNot: '^src/sessions/$1/' },
    },
    {
      name: 'redis-client-behind-its-adapter',
      comment: 'A type of the client in the port would make every store a Redis.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/sessions/redis/' },
      to: { path: 'node_modules/cluster-key-slot/' },
    },
    {
      name: 'one-holder-of-the-redis-client',
      comment:
        'link.ts and its servers alone know the client, its types included: how it connects, fails and times out is decided once.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/sessions/redis/(link|servers|cluster-servers)\\.ts$' },
      to: { path: 'node_modules/(ioredis|@ioredis)/' },
    },
    {
      name: 'http-is-for-any-service',
      comment: 'http/ would serve any API: it knows nothing of sessions or streams.',
      severity: 'error',
      from: { path: '^src/http/' },
      to: { path: '^src/(auth|sessions|streams|gate|expiry|callbacks|observability)/', pathNot: METRICS },
    },
    {
      name: 'metrics-are-a-leaf',
      comment: 'Every module registers its figures there, so it can depend on none of them.',
      severity: 'error',
      from: { path: METRICS },
      to: { path: '^src/', pathNot: METRICS },
    },
    {
      name: 'config-is-a-leaf',
      comment:
        'Everything may read the configuration, so it reads nothing but the policy type that it makes, and the names of events.',
      severity: 'error',
      from: { path: '^src/(config/|clock\\.ts$)', pathNot: '\\.spec\\.ts$' },
      to: { path: '^src/', pathNot: '^src/(config/|sessions/(admission|quota|session-events)\\.ts$)' },
    },
    {
      name: 'wiring-is-at-the-top',
      comment:
        'Only main.ts builds the application, and only app.ts and main.ts know how it is put together.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(main|app)\\.ts$' },
      to: { path: '^src/(main|app|app\\.module)\\.ts$' },
    },
    {
      name: 'the-client-stands-alone',
      comment: 'Browsers load it as it is built, without a package or a file of ours beside it.',
      severity: 'error',
      from: { path: '^client/src/' },
      to: { pathNot: '^client/src/' },
    },
    {
      name: 'the-service-does-not-know-its-client',
      comment: 'They meet over HTTP; only tests hold one against the other, by the types of what is built.',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^client/' },
    },
    {
      name: 'no-test-in-production',
      comment: 'What the tests need is not what users run.',
      severity: 'error',
      from: { path: '^src/', pathNot: '\\.spec\\.ts$' },
      to: { path: '^(test|bench)/' },
    },
    {
      name: 'no-dev-dependency-in-production',
      comment: 'The image installs production dependencies only.',
      severity: 'error',
      from: { path: '^src/', pathNot: '\\.spec\\.ts$' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
      extensions: ['.ts', '.mts', '.js', '.json'],
    },
  },
};
