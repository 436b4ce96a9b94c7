/** One user: the places as they are now, and what happened. */
import { announce, durationOf, element, find, momentOf, setText, show, timeOf } from './page.js';
import { ask, auditNote, eventsOf, Failure } from './service.js';

/** Several events of the same instant cause one request for the list. */
const SETTLE_MS = 150;
const MAX_EVENTS = 200;
/** How long after a session is due its state is asked for: the service may have renewed it at that very instant. */
const AFTER_DUE_MS = 500;
const SHORTEST_PAUSE_MS = 2_000;
const RETRY_MS = 5_000;

const ENDED_BY = {
  user: 'was ended by the user',
  operator: 'was ended by support or a service',
  left: 'quit',
};

const sessionsPath = (user) => `/v1/users/${encodeURIComponent(user)}/sessions`;
const deviceName = ({ device, session_id }) => device?.name ?? device?.id ?? `Session ${session_id}`;

/**
 * Shows a user until `signal` is aborted. Returns what the buttons need. `fail` gets each Failure.
 *
 * The events say when a session starts, moves or ends. No event says that a session was renewed. So the list is also asked
 * for when the first session is due, that is when it would become idle or lose its place without a renewal.
 */
export function showUser(user, { mayEnd, signal, fail }) {
  let list;
  /** How far the server's clock is ahead of this machine's, in milliseconds. */
  let aheadMs = 0;
  const shownAt = Date.now();
  let settling;
  let askedAt = 0;
  /** When the list is asked for again, on the server's clock. */
  let dueAt = Infinity;
  const known = new Set();
  const paused = new Set();
  const now = () => Date.now() + aheadMs;

  find('#events').replaceChildren();
  find('#places').replaceChildren();
  setText(find('#user-title'), user);
  for (const id of ['#summary', '#log-name', '#history', '#connection']) setText(find(id), '');
  find('#end-all').hidden = true;

  async function load() {
    askedAt = Date.now();
    const reply = await ask(sessionsPath(user));
    if (signal.aborted) return;
    aheadMs = reply.at - Date.now();
    notePauses(reply.body.sessions);
    list = reply.body;
    dueAt = nextDue();
    fail(undefined);
    draw();
  }

  /** From the second keepalive of a pause on, the last activity moves and what is left to play stays. No other request does that. */
  function notePauses(sessions) {
    const before = new Map(list?.sessions.map((session) => [session.session_id, session]));
    for (const session of sessions) {
      const former = before.get(session.session_id);
      if (former === undefined || former.last_activity_at === session.last_activity_at) continue;
      const left = ({ plays_until, last_activity_at }) =>
        Date.parse(plays_until) - Date.parse(last_activity_at);
      const isPaused = ['phase', 'stream_id', 'started_at'].every((name) => former[name] === session[name]);
      if (isPaused && left(session) > 0 && left(former) === left(session)) paused.add(session.session_id);
      else paused.delete(session.session_id);
    }
  }

  function stateOf({ session_id, idle_at }) {
    if (now() >= Date.parse(idle_at)) return 'idle';
    return paused.has(session_id) ? 'paused' : 'playing';
  }

  /** The elements of a session stay the same as long as it lives, so that the focus stays where it is. */
  function draw() {
    const places = find('#places');
    const { limit, sessions, subject, user_id } = list;
    if (subject !== undefined) setText(find('#user-title'), `${subject} (${user_id})`);
    const kept = new Map([...places.children].map((place) => [place.dataset.session, place]));
    const wanted = sessions.map((session) => kept.get(session.session_id) ?? placeOf(session));
    if (wanted.length !== places.children.length || wanted.some((place, at) => place !== places.children[at]))
      places.replaceChildren(...wanted);
    setText(
      find('#summary'),
      `${sessions.length} of ${limit} ${limit === 1 ? 'place' : 'places'} ${sessions.length === 1 ? 'is' : 'are'} taken. ` +
        (sessions.length < limit ? 'A new player would be admitted.' : 'A new player would be refused.'),
    );
    find('#end-all').hidden = !mayEnd || sessions.length === 0;
    for (const [at, session] of sessions.entries()) drawPlace(wanted[at], session);
  }

  function placeOf({ session_id }) {
    const place = element('li');
    place.dataset.session = session_id;
    const words = element(
      'div',
      {},
      element('p', { className: 'name' }),
      element('p', { className: 'what' }),
    );
    words.append(element('p', { className: 'left' }));
    place.append(words);
    if (mayEnd) place.append(element('button', { type: 'button', className: 'danger' }, 'End…'));
    return place;
  }

  function drawPlace(place, session) {
    const state = stateOf(session);
    const badge = find('.badge', place) ?? element('span', { className: 'badge' });
    const name = find('.name', place);
    if (name.firstChild === null) name.append(element('strong'), ' ', badge);
    setText(name.firstChild, deviceName(session));
    place.dataset.state = state;
    setText(badge, state);
    const since = durationOf(now() - Date.parse(session.started_at));
    setText(find('.what', place), `${session.stream_id}, since ${momentOf(session.started_at)} (${since})`);
    const silent = durationOf(now() - Date.parse(session.last_activity_at));
    const left = Math.max(0, Math.ceil((Date.parse(session.expires_at) - now()) / 1_000));
    setText(
      find('.left', place),
      `${state === 'idle' ? `Silent for ${silent}. ` : ''}Expires in ${left} s if silent`,
    );
    const button = find('button', place);
    if (button === null) return;
    button.setAttribute('aria-label', `End ${deviceName(session)}…`);
    button.onclick = () =>
      confirmEnd(`End ${deviceName(session)}?`, `It plays ${session.stream_id}.`, 'End session', session);
  }

  /** The next instant at which a place changes if its session was not renewed. */
  function nextDue() {
    const instants = list.sessions.flatMap(({ idle_at, expires_at }) => [idle_at, expires_at]);
    return Math.min(
      ...instants.map((instant) => Date.parse(instant) + AFTER_DUE_MS).filter((at) => at > now()),
    );
  }

  const ticking = setInterval(() => {
    if (document.hidden) return;
    if (list !== undefined) draw();
    if (now() >= dueAt && Date.now() - askedAt >= SHORTEST_PAUSE_MS) refresh();
  }, 500);
  signal.addEventListener('abort', () => {
    clearInterval(ticking);
    clearTimeout(settling);
  });

  function refresh() {
    dueAt = Infinity;
    load().catch((error) => {
      dueAt = now() + RETRY_MS;
      if (!signal.aborted) fail(error);
    });
  }

  function settle() {
    clearTimeout(settling);
    settling = setTimeout(refresh, SETTLE_MS);
  }

  async function follow() {
    for await (const { type, id, data } of eventsOf(user, signal)) {
      if (signal.aborted) return;
      if (type === 'open' || type === 'away' || type === 'unavailable') {
        setText(find('#connection'), type === 'open' ? 'live' : 'connecting…');
        find('#connection').dataset.state = type;
      } else if (type === 'resync') {
        setText(find('#history'), 'Some events may be missing: the service keeps a bounded number.');
      } else if (!known.has(id)) {
        known.add(id);
        addEvent(type, data);
        // Older events are history, which is not read out.
        if (Date.parse(data.at) >= shownAt + aheadMs)
          announce(find('#events').firstChild.firstChild.textContent);
      }
      settle();
    }
  }

  function addEvent(type, data) {
    const events = find('#events');
    if (events.children.length >= MAX_EVENTS) events.lastChild.remove();
    const when = element(
      'time',
      { dateTime: data.at, title: new Date(data.at).toISOString() },
      momentOf(data.at),
    );
    const entry = element('li', {}, element('p', {}, when, ` ${sentenceOf(type, data)}`));
    entry.dataset.type = type;
    if (type === 'refused') entry.append(holdersOf(data));
    events.prepend(entry);
  }

  refresh();
  follow().catch(fail);
  ask(`/console/data/users/${encodeURIComponent(user)}`)
    .then(({ body }) => {
      if (!signal.aborted) setText(find('#log-name'), logNameOf(body));
    })
    .catch(fail);
  return {
    endAll: () => {
      const count = list?.sessions.length ?? 0;
      confirmEnd(`End all sessions of ${user}?`, `${count} now. Every player stops.`, 'End all sessions');
    },
  };

  /** Asks first. The button that ends is not the one with the focus, and Enter in the note does not press it. */
  function confirmEnd(title, text, action, session) {
    const dialog = find('#end-dialog');
    setText(find('#end-title'), title);
    setText(find('#end-text'), text);
    setText(find('#end-confirm'), action);
    find('#note').value = '';
    show(find('#end-problem'), undefined);
    find('#end-form').onsubmit = (event) => event.preventDefault();
    find('#end-cancel').onclick = () => dialog.close();
    find('#end-confirm').onclick = async () => {
      find('#end-confirm').disabled = true;
      try {
        const path = session
          ? `${sessionsPath(user)}/${encodeURIComponent(session.session_id)}`
          : sessionsPath(user);
        await ask(path, { method: 'DELETE', ...auditNote(find('#note').value.trim()) });
        dialog.close();
        find('#user-title').focus();
        announce(`${action}: done.`);
        settle();
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        // What does not exist has ended already.
        if (error.status === 404) dialog.close();
        show(find('#end-problem'), error.message);
        settle();
      } finally {
        find('#end-confirm').disabled = false;
      }
    };
    signal.addEventListener('abort', () => dialog.close(), { once: true });
    dialog.showModal();
  }
}

function logNameOf({ log_name, log_naming }) {
  if (log_name === null) return 'The log names no users.';
  return log_naming === 'hash' ? `In the log: ${log_name}` : 'The log names users by their id.';
}

function sentenceOf(type, data) {
  const name = deviceName(data);
  switch (type) {
    case 'started':
      return `${name} started ${data.stream_id}.`;
    case 'moved':
      return `${name} moved to ${data.stream_id}.`;
    case 'expired':
      return `${name} was silent until it expired (${data.stream_id}).`;
    case 'ended':
      return data.reason === 'replaced'
        ? `${name} was replaced by ${deviceName(data.replaced_by ?? data)}.`
        : `${name} ${ENDED_BY[data.reason] ?? `ended (${data.reason})`}: ${data.stream_id}.`;
    case 'refused':
      return `${name} was refused ${data.stream_id}: ${data.limit === 1 ? 'the only place was' : `all ${data.limit} places were`} taken.`;
    default:
      return `${name}: ${type}.`;
  }
}

/** The sessions that held the places when a request was refused. */
function holdersOf({ at, sessions }) {
  const lines = sessions.map((session) => {
    const silent = Date.parse(at) - Date.parse(session.last_activity_at);
    const heard = silent < 1_000 ? 'heard at that instant' : `last heard ${durationOf(silent)} before`;
    return element(
      'li',
      {},
      `${deviceName(session)}: ${session.stream_id}, since ${timeOf(session.started_at)}, ${heard}`,
    );
  });
  return element('div', { className: 'holders' }, element('p', {}, 'Held by'), element('ul', {}, ...lines));
}
