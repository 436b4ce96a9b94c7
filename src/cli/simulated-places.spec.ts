import { SimulatedPlaces } from './simulated-places.js';

const SPAN_MS = 30_000;
const PLACES = { limit: 2, live: 2 };
const REFUSED = { limit: 2, listed: 2 };
/** A request of 10 ms. */
const at = (sentAt: number) => ({ sentAt, repliedAt: sentAt + 10 });

describe('the verdict on an answer', () => {
  let places: SimulatedPlaces;
  beforeEach(() => {
    places = new SimulatedPlaces();
    places.keep('tv', at(0), SPAN_MS);
    places.keep('phone', at(0), SPAN_MS);
  });

  it('calls an admission wrong while others surely hold all places', () => {
    expect(places.faultOfAdmission('tablet', at(100), PLACES)).toMatch(/although 2 others surely held the 2/);
    expect(places.faultOfAdmission('tv', at(100), PLACES)).toBeUndefined();
  });

  it('leaves an admission alone that may come after the end of a place', () => {
    expect(places.faultOfAdmission('tablet', at(SPAN_MS - 11), PLACES)).toBeDefined();
    expect(places.faultOfAdmission('tablet', at(SPAN_MS - 10), PLACES)).toBeUndefined();
    places.beginEnd('tv');
    expect(places.faultOfAdmission('tablet', at(100), PLACES)).toBeUndefined();
  });

  it('calls a reply wrong that has more live sessions than places', () => {
    expect(places.faultOfAdmission('tv', at(100), { limit: 2, live: 3 })).toMatch(
      /3 sessions are live, of 2/,
    );
  });

  it('calls a refusal wrong while a place is surely free', () => {
    expect(places.faultOfRefusal('tablet', at(100), REFUSED)).toBeUndefined();
    places.beginEnd('tv');
    expect(places.faultOfRefusal('tablet', at(100), REFUSED)).toBeUndefined();
    places.end('tv');
    expect(places.faultOfRefusal('tablet', at(100), REFUSED)).toMatch(/although only 1 others can hold/);
  });

  it('leaves a refusal alone that may come before the end of a place', () => {
    expect(places.faultOfRefusal('tablet', at(SPAN_MS + 9), REFUSED)).toBeUndefined();
    expect(places.faultOfRefusal('tablet', at(SPAN_MS + 10), REFUSED)).toBeDefined();
  });

  it('counts an aborted request as a place that may be held', () => {
    places.end('tv');
    places.doubt('tv', at(50), SPAN_MS);
    expect(places.faultOfRefusal('tablet', at(100), REFUSED)).toBeUndefined();
    expect(places.faultOfAdmission('tablet', at(100), PLACES)).toBeUndefined();
  });

  it('calls a refusal wrong that names fewer sessions than places', () => {
    expect(places.faultOfRefusal('tablet', at(100), { limit: 2, listed: 1 })).toMatch(
      /with 1 sessions listed, of 2/,
    );
  });

  it('calls the refusal or the loss of a session wrong that surely holds its place', () => {
    expect(places.faultOfRefusal('tv', at(100), REFUSED)).toMatch(/surely held its place/);
    expect(places.faultOfLoss('tv', at(100))).toMatch(/lost a session/);
    expect(places.faultOfLoss('tv', at(SPAN_MS))).toBeUndefined();
    places.beginEnd('phone');
    expect(places.faultOfLoss('phone', at(100))).toBeUndefined();
  });
});
