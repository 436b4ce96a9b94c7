import { withComponents } from './docs.js';
import { component, instantSchema, object } from './fields.js';

const documentWith = (...schemas: object[]) =>
  withComponents({ components: { securitySchemes: {} }, paths: { schemas }, webhooks: {} });

describe('the components of the document', () => {
  const INNER = component('Inner', { at: instantSchema('When.') });

  it('are the schemas with a title, at any depth, and each use refers to its component', () => {
    const OUTER = component('Outer', { inner: INNER, title: instantSchema('A member, not a name.') });
    const { paths, components } = documentWith(OUTER, object({ inner: INNER }));
    expect(paths).toMatchObject({
      schemas: [
        { $ref: '#/components/schemas/Outer' },
        { properties: { inner: { $ref: '#/components/schemas/Inner' } } },
      ],
    });
    expect(components).toMatchObject({
      securitySchemes: {},
      schemas: {
        Inner: { required: ['at'], properties: { at: { format: 'date-time' } } },
        Outer: {
          properties: { inner: { $ref: '#/components/schemas/Inner' }, title: { format: 'date-time' } },
        },
      },
    });
    expect(Object.keys(components!.schemas!)).toEqual(['Inner', 'Outer']);
    expect(components!.schemas!.Inner).not.toHaveProperty('title');
  });

  it('must not have the same name twice', () => {
    expect(() => documentWith(INNER, component('Inner', {}))).toThrow(
      'Two different schemas have the title Inner',
    );
  });
});
