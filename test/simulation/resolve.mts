// Lets Node run the simulation on the built service: the TypeScript of the service has decorators, which Node cannot run.
import { registerHooks } from 'node:module';

const sources = new URL('../../src/', import.meta.url).href;
const built = new URL('../../dist/', import.meta.url).href;

registerHooks({
  resolve(specifier, context, next) {
    if (!specifier.startsWith('.') || context.parentURL === undefined) return next(specifier, context);
    const { href } = new URL(specifier, context.parentURL);
    if (href.startsWith(sources)) return next(href.replace(sources, built), context);
    const ours = !/\/(node_modules|dist)\//.test(context.parentURL);
    return next(ours ? specifier.replace(/\.js$/, '.ts') : specifier, context);
  },
});
