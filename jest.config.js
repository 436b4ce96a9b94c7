const { availableParallelism } = require('node:os');

const base = {
  rootDir: __dirname,
  testEnvironment: 'node',
  moduleFileExtensions: ['js', 'json', 'ts'],
  transform: { '^.+\\.ts$': 'ts-jest' }, // transpile only, because tsconfig has isolatedModules
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  modulePathIgnorePatterns: ['<rootDir>/dist', '<rootDir>/samples'], // segments of HLS end in .ts as well
};
const onRedis = {
  ...base,
  globalSetup: '<rootDir>/test/support/global-redis.ts',
  globalTeardown: '<rootDir>/test/support/global-redis-down.ts',
};
const onBuiltService = { ...onRedis, globalSetup: '<rootDir>/test/support/global-build.ts' };
const specs = (folder) => ({ displayName: folder, testMatch: [`<rootDir>/test/${folder}/**/*.spec.ts`] });

module.exports = {
  // No more than the machine can run at once: a service that is under test has seconds to answer in. And a worker takes a
  // Redis database of its own, of which a server has 16 unless told otherwise.
  maxWorkers: Math.min(4, availableParallelism()),
  // A start of the service takes seconds of CPU time, and machines that run tests are shared.
  testTimeout: 120_000,
  projects: [
    { ...base, displayName: 'unit', testMatch: ['<rootDir>/src/**/*.spec.ts'] },
    { ...base, ...specs('infra') },
    { ...base, ...specs('simulation') },
    { ...onRedis, ...specs('contract') },
    { ...onRedis, ...specs('stories') },
    { ...base, ...specs('client'), globalSetup: '<rootDir>/test/support/global-client.ts' },
    { ...onBuiltService, ...specs('http') },
    { ...onBuiltService, ...specs('cli') },
    { ...onBuiltService, ...specs('redis') },
    { ...base, ...specs('players'), globalSetup: '<rootDir>/test/support/global-client.ts' },
    {
      ...base,
      ...specs('containers'),
      globalSetup: '<rootDir>/test/support/global-container.ts',
      globalTeardown: '<rootDir>/test/support/global-container-down.ts',
    },
  ],
};
