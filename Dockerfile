# The same base for every stage. The public ECR mirror, because Docker Hub limits how much an address may pull.
ARG NODE_IMAGE=public.ecr.aws/docker/library/node:24-bookworm-slim

# Everything that building and checking need; rebuilt only when the lock file changes.
FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund

FROM dependencies AS build
COPY nest-cli.json tsconfig.json tsconfig.build.json ./
COPY src src
COPY client client
COPY demo demo
# Without what is optional, which is a Node for machines that have another one; and without types, maps and texts, which
# nothing reads at run time and which are a quarter of the size. Licences stay: they ask to be passed on.
RUN npx nest build \
  && npm run build:demo \
  && npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund \
  && find node_modules -type f \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' -o -name '*.md' \) ! -iname '*licen[cs]e*' -exec rm {} +

FROM ${NODE_IMAGE}
# The commit that GET /internal/config tells.
ARG BUILD_COMMIT=
ENV NODE_ENV=production BUILD_COMMIT=$BUILD_COMMIT
WORKDIR /app
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
# The page at /, which is served outside production only.
COPY --from=build /app/demo demo
# The page at /console, which CONSOLE=on serves.
COPY console console
COPY --from=build /app/client/dist client/dist
COPY samples/streams samples/streams
COPY LICENSE ./
COPY package.json ./
# The command line: docker exec CONTAINER streamgate doctor
RUN chmod +x dist/cli/main.js && ln -s /app/dist/cli/main.js /usr/local/bin/streamgate
# The number as well as the name: an orchestrator that forbids root has to see that it is not.
USER 1000:1000
EXPOSE 3000
# Asks the process, never its store: a Redis that is away is no reason to kill what waits for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 3000}/health/live`).then((reply) => process.exit(reply.ok ? 0 : 1), () => process.exit(1))"]
# node itself, so that SIGTERM reaches it; it ends by its own exit, which works as PID 1.
CMD ["node", "--enable-source-maps", "dist/main.js"]
