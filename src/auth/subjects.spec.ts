import { ID } from '../http/fields.js';
import { MAX_SUBJECT_BYTES, userIdOf } from './subjects.js';

describe('the user id of a subject', () => {
  it.each(['ana', 'ana@example.com', 'a.b_c~d:e-f', '507f1f77bcf86cd799439011', 'x'.repeat(64), '...'])(
    'is the subject itself if it has the form of an id: %s',
    (subject) => {
      expect(userIdOf(subject)).toBe(subject);
    },
  );

  // printf %s 'auth0|507f1f77bcf86cd799439011' | openssl dgst -sha256 -binary | basenc --base64url
  it('contains the SHA-256 of any other subject, and never changes', () => {
    expect(userIdOf('auth0|507f1f77bcf86cd799439011')).toBe(
      'sub~MWbbK5Zp17vDiVSi23ttOejVD9ltIBoU_eE-6WAbvNY',
    );
    expect(userIdOf('ana maría')).toBe('sub~49rQay9w7JnjADTVXjFNOUNPT_BKcEIEYvmTL1fAG8o');
  });

  it.each([
    'google-oauth2|1037',
    'samlp|acme|ana@example.com',
    'ana+tv@example.com',
    'Zm9v+/==',
    'f:3f6a8f0e-2b1c-4e57-9a64-6f0c7d2b9f11:a.very.long.user.name@example.com',
    'u'.repeat(128),
    '{0b7c7a3e-7c7e-4c59-8b0c-1f4f0d2d9a11}',
    '(usr!x)',
    'https://id.example/users/1',
    'did:web:example.com%3A3000:user:ana',
    'CN=Ana María,OU=TV,O=Acme',
    'acct/ana',
    ' ana',
    'ana ',
    '.',
    '..',
    'ü',
  ])('has the form of an id for the subject %s', (subject) => {
    const id = userIdOf(subject)!;
    expect(id).toMatch(ID);
    expect(id).not.toBe(subject);
  });

  it('differs for subjects that differ only in case, Unicode form or a space', () => {
    const subjects = ['Ana', 'ana', 'ana ', 'ana\u00a0', 'mar\u00eda', 'mari\u0301a', 'ana/1', 'ANA/1'];
    expect(new Set(subjects.map(userIdOf)).size).toBe(subjects.length);
  });

  it('differs from any subject, even from one that looks like this id', () => {
    const victim = userIdOf('auth0|victim')!;
    expect(userIdOf(victim)).toMatch(ID);
    expect(userIdOf(victim)).not.toBe(victim);
    expect(userIdOf(userIdOf(victim)!)).not.toBe(victim);
  });

  it('is undefined for an invalid subject', () => {
    expect(userIdOf('')).toBeUndefined();
    expect(userIdOf('\ud800')).toBeUndefined();
    expect(userIdOf('|'.repeat(MAX_SUBJECT_BYTES))).toBeDefined();
    expect(userIdOf('|'.repeat(MAX_SUBJECT_BYTES + 1))).toBeUndefined();
    expect(userIdOf('é'.repeat(MAX_SUBJECT_BYTES / 2 + 1))).toBeUndefined();
  });
});
