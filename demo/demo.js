import { playThroughGate } from '/demo/client/hls.js';

const Hls = globalThis.Hls;
const find = (selector, within = document) => within.querySelector(selector);
const form = find('#open');
/** The players on this page. Each is `{ name, playback, show }`. */
const players = new Set();
/** The name of each session that this page ever played, closed players included. */
const names = new Map();
/** What this viewer did to a session: `closed` or `stopped`. */
const doneHere = new Map();
/** The latest reply about the chosen user, and how far the server's clock is ahead of this machine's, in milliseconds. */
let places = { limit: 0, sessions: [], aheadMs: 0 };
let events;
let opened = 0;
/** When the server began not to answer; undefined while it answers. */
let awaySince;

const element = (name, text, attributes = {}) =>
  Object.assign(document.createElement(name), { textContent: text }, attributes);
const timeOf = (instant) => new Date(instant).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
const secondsUntil = (instant) =>
  Math.max(0, Math.ceil((Date.parse(instant) - Date.now() - places.aheadMs) / 1_000));
const label = ({ session_id, device }) =>
  names.get(session_id) ?? device?.name ?? device?.id ?? `Player ${session_id.slice(-4)} elsewhere`;
const tell = (text) => (find('#news').textContent = text);
/** Changes the text only where it differs, so that screen readers read no text twice. */
const setText = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

/** Sends a request. Returns undefined if the server did not do it, after telling the viewer. */
async function ask(path, init) {
  try {
    const reply = await fetch(path, { ...init, signal: AbortSignal.timeout(5_000) });
    const body = reply.status === 204 ? {} : await reply.json();
    const done = reply.ok || reply.status === 404; // what does not exist has ended already
    showAway(done ? undefined : `The server answered: ${body.detail ?? reply.status}`);
    return done ? { body, date: reply.headers.get('date') } : undefined;
  } catch {
    showAway('The server does not answer.');
    return undefined;
  }
}

function showAway(reason) {
  if (reason === undefined && awaySince !== undefined) tell('The server answers again.');
  awaySince = reason === undefined ? undefined : (awaySince ?? Date.now());
  find('#away').hidden = reason === undefined;
  setText(
    find('#away'),
    reason === undefined ? '' : `${reason} The places below are those of ${timeOf(awaySince)}.`,
  );
}

const sessionsOf = (user) => `/v1/users/${encodeURIComponent(user)}/sessions`;

/** Fetches the places of the user. Called at each event of one of the user's sessions, and every two seconds. */
async function loadPlaces() {
  if (!form.user.checkValidity()) return;
  const user = form.user.value;
  const reply = await ask(sessionsOf(user));
  if (reply === undefined || user !== form.user.value) return;
  places = { ...reply.body, aheadMs: Date.parse(reply.date) - Date.now() };
  showPlaces();
}

/** The list keeps its elements while the sessions stay the same, because it also changes each second. */
function showPlaces() {
  const { limit, sessions } = places;
  const list = find('#places');
  const kept = new Map([...list.children].map((place) => [place.dataset.session, place]));
  const taken = sessions.map((session) => {
    const place = kept.get(session.session_id) ?? element('li', '');
    if (!place.hasChildNodes())
      place.append(element('strong', ''), element('small', ''), element('small', ''));
    place.dataset.session = session.session_id;
    place.dataset.state = session.state;
    const { stream_id, device, started_at, plays_until, expires_at } = session;
    const deviceName = device?.name ?? device?.id;
    const on = deviceName && deviceName !== label(session) ? `on ${deviceName}, ` : '';
    const [name, what, left] = place.children;
    setText(name, label(session));
    setText(what, `${stream_id}, ${on}since ${timeOf(started_at)}`);
    const [plays, frees] = [secondsUntil(plays_until), secondsUntil(expires_at)];
    setText(left, `${plays > 0 ? `${plays} s left to play` : session.state}; free in ${frees} s if silent`);
    return place;
  });
  const free = Array.from({ length: Math.max(0, limit - taken.length) }, () =>
    element('li', 'free', { className: 'free' }),
  );
  const wanted = [...taken, ...free];
  const same =
    list.children.length === wanted.length &&
    wanted.every((place, at) =>
      place.className === 'free' ? list.children[at].className === 'free' : list.children[at] === place,
    );
  if (!same) list.replaceChildren(...wanted);
  for (const player of players) player.show();
}

/** What an event means to this viewer. */
function newsOf(type, session) {
  const name = label(session);
  switch (type) {
    case 'started':
      return `${name} has a place.`;
    case 'moved':
      return `${name} plays ${session.stream_id}.`;
    case 'expired':
      return `${name} was silent: its place is free.`;
    default:
      break;
  }
  const mine = doneHere.get(session.session_id);
  if (mine !== undefined) return `You ${mine} ${name}: its place is free.`;
  if (session.reason === 'left') return `${name} was closed or is over: its place is free.`;
  if (session.reason !== 'replaced')
    return `${name} was stopped by the ${session.reason}: its place is free.`;
  return `${name} was replaced by ${label(session.replaced_by ?? session)}.`;
}

/** Listens to the events of the chosen user, and of no other. */
function follow() {
  events?.close();
  places = { ...places, limit: 0, sessions: [] };
  showPlaces();
  if (!form.user.checkValidity()) return;
  events = new EventSource(`/v1/users/${encodeURIComponent(form.user.value)}/events`);
  for (const type of ['started', 'moved', 'ended', 'expired'])
    events.addEventListener(`session.${type}`, ({ data }) => {
      tell(newsOf(type, JSON.parse(data)));
      void loadPlaces();
    });
  void loadPlaces();
}

function bufferedSeconds({ buffered, currentTime }) {
  for (let i = 0; i < buffered.length; i++)
    if (buffered.start(i) <= currentTime + 0.5 && buffered.end(i) > currentTime)
      return buffered.end(i) - currentTime;
  return 0;
}

function openPlayer(user, stream, device) {
  const card = find('#player').content.cloneNode(true).firstElementChild;
  const number = ++opened;
  const title = `Player ${number}`;
  const [video, over, state] = [find('video', card), find('.over', card), find('.state', card)];
  const query = new URLSearchParams({ user_id: user });
  if (device !== '') {
    query.set('device_id', device.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-'));
    query.set('device_name', device);
  }
  /** Why the player does not play: the adapter's refusal, `over` for the end of the film, or an error of hls.js. */
  let stopped;
  const hls = new Hls();
  const player = {
    close() {
      doneHere.set(playback.sessionId, 'closed');
      hls.destroy();
      card.remove();
      players.delete(player);
      find('#none').hidden = players.size > 0;
    },
    show() {
      const ahead = Math.round(bufferedSeconds(video));
      const holds = places.sessions.some(({ session_id }) => session_id === playback.sessionId);
      const doomed = !holds && stopped === undefined && video.currentTime > 0 && awaySince === undefined;
      setText(
        state,
        `${ahead} s buffered${doomed && ahead > 0 ? '; plays on without a place until its next request' : ''}`,
      );
      // The controls of a player that may not play would show a spinner, and offer to play.
      video.controls = stopped === undefined || stopped.type === 'over';
      if (stopped === undefined) return void (over.hidden = true);
      const [text, choices] = offer();
      const key = JSON.stringify([text, choices.map(([words]) => words)]);
      if (over.dataset.key !== key) {
        over.dataset.key = key;
        const hadFocus = over.contains(document.activeElement);
        const heading = element('strong', text, { tabIndex: -1 });
        over.replaceChildren(
          heading,
          ...choices.map(([words, onclick]) => element('button', words, { type: 'button', onclick })),
        );
        // The button that had the focus may be gone. No other button may be pressed in its place by accident.
        if (hadFocus) heading.focus();
      }
      over.hidden = false;
    },
  };
  const start = () => {
    stopped = undefined;
    over.hidden = true;
    playback.retry();
    note();
  };
  /** The text on the card, and the buttons: pairs of words and action. */
  const offer = () => {
    const { limit, sessions } = places;
    if (stopped.type === 'over')
      return ['The film is over, and its place was given back.', [['Play again', () => void video.play()]]];
    if (stopped.type === 'error') return [`hls.js stopped: ${stopped.details}.`, [['Try again', start]]];
    const free = sessions.length < limit;
    const place = free ? 'A place is free.' : `All ${limit} places are taken.`;
    const choices = free
      ? [['Play here', start]]
      : sessions.map((session) => [`Stop ${label(session)}, play here`, () => void takeOver(session)]);
    if (stopped.type === 'refused') return [place, choices];
    return [`This player was stopped (${stopped.reason}). ${place}`, choices];
  };
  const takeOver = async ({ session_id }) => {
    doneHere.set(session_id, 'stopped');
    const reply = await ask(`${sessionsOf(user)}/${encodeURIComponent(session_id)}`, { method: 'DELETE' });
    if (reply !== undefined) start();
  };
  const note = () => names.set(playback.sessionId, title);
  players.add(player);

  find('.name', card).textContent = `${title}: ${stream}${device === '' ? '' : ` on ${device}`}`;
  find('.name', card).id = `player-${number}`;
  card.setAttribute('aria-labelledby', `player-${number}`);
  video.setAttribute('aria-label', `${title}, ${stream}`);
  find('.close', card).setAttribute('aria-label', `Close ${title}`);
  find('.close', card).addEventListener('click', () => {
    player.close();
    tell(`You closed ${title}.`);
    find('#players-title').focus();
  });
  video.addEventListener('ended', () => ((stopped = { type: 'over' }), player.show()));
  video.addEventListener('playing', () => ((stopped = undefined), player.show()));
  find('#players').append(card);
  find('#none').hidden = true;

  hls.attachMedia(video);
  hls.on(Hls.Events.MANIFEST_PARSED, () => void video.play().catch(() => undefined));
  hls.on(Hls.Events.ERROR, (_event, { fatal, details, response }) => {
    if (!fatal || response?.code === 403) return;
    stopped = { type: 'error', details };
    player.show();
  });
  const playback = playThroughGate(hls, `/v1/play/${stream}/index.m3u8?${query}`, (refusal) => {
    stopped = refusal;
    void loadPlaces().then(player.show);
  });
  note();
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  openPlayer(form.user.value, form.stream.value, form.device.value.trim());
});
form.user.addEventListener('change', () => {
  if (players.size > 0) tell('The players of the former user were closed.');
  for (const player of [...players]) player.close();
  form.user.reportValidity();
  follow();
});

if (!Hls?.isSupported()) tell('This browser has no Media Source Extensions, which hls.js needs.');
follow();
// No event tells that a session was handed out its next phase, so the page also polls.
setInterval(() => void loadPlaces(), 2_000);
setInterval(showPlaces, 1_000);
for (let streams; !streams;) {
  streams = (await ask('/v1/streams'))?.body.streams;
  if (streams) form.stream.replaceChildren(...streams.map(({ stream_id }) => element('option', stream_id)));
  else await new Promise((resolve) => setTimeout(resolve, 2_000));
}
