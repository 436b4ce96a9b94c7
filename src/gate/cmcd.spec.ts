import fc from 'fast-check';
import { readReport, readReportOfRequest } from './cmcd.js';

describe('a CMCD report', () => {
  it.each([
    ['sid="abc",sta=p,v=2', { sid: 'abc', state: 'playing' }],
    ['e=ps,sid="abc",sta=a,ts=1700000000000,v=2', { sid: 'abc', state: 'paused' }],
    ['e=t,sid="abc",v=2', { sid: 'abc', state: 'playing' }],
    ['sid="abc",pr=0', { sid: 'abc', state: 'paused' }],
    ['sid="abc",pr=1.08,bl=21000', { sid: 'abc', state: 'playing' }],
    ['bl=21000,br=3200,com.example-x="y"', { sid: undefined, state: undefined }],
    ['', { sid: undefined, state: undefined }],
    ['sta=d', { sid: undefined, state: undefined }],
    ['sta=constructor', { sid: undefined, state: undefined }],
    ['sta=xyz', { sid: undefined, state: undefined }],
  ])('gives the id and the state of the playback: %s', (text, report) => {
    expect(readReport(text)).toEqual(report);
  });

  it.each(['s', 'p', 'k', 'r', 'w'])('in state %s means that the player plays', (sta) => {
    expect(readReport(`sta=${sta}`)).toMatchObject({ state: 'playing' });
  });

  it.each(['e', 'f', 'q'])('in state %s means that the playback is over', (sta) => {
    expect(readReport(`sta=${sta}`)).toMatchObject({ state: 'over' });
  });

  it.each(['sid="abc,pr=', '%%%', '=', 'sid="a"'.repeat(1_000)])(
    'is undefined if it is malformed: %#',
    (text) => {
      expect(readReport(text)).toBeUndefined();
    },
  );

  it('ignores a playback session id that is longer than the standard allows', () => {
    expect(readReport(`sid="${'x'.repeat(64)}"`)).toMatchObject({ sid: 'x'.repeat(64) });
    expect(readReport(`sid="${'x'.repeat(65)}"`)).toMatchObject({ sid: undefined });
  });

  it('is read from the query or the headers of a request', () => {
    expect(readReportOfRequest({}, {})).toBeUndefined();
    expect(readReportOfRequest({ CMCD: 'sid="q",sta=a' }, {})).toEqual({ sid: 'q', state: 'paused' });
    const headers = { 'cmcd-session': 'sid="h",v=2', 'cmcd-status': 'sta=q' };
    expect(readReportOfRequest({}, headers)).toEqual({ sid: 'h', state: 'over' });
    expect(readReportOfRequest({ CMCD: ['a', 'b'] }, {})).toBe('malformed');
    expect(readReportOfRequest({ CMCD: '%%%' }, headers)).toBe('malformed');
  });

  it('never throws, for any text', () => {
    const part = fc.constantFrom(
      'sid',
      '=',
      '"',
      ',',
      ';',
      '(',
      ')',
      'sta',
      'p',
      '0',
      '-',
      ':',
      ' ',
      '\\',
      '%',
      'é',
    );
    const text = fc.oneof(
      fc.string(),
      fc.array(part, { maxLength: 30 }).map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(text, (sent) => {
        const report = readReport(sent);
        expect(report === undefined || 'state' in report).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });
});
