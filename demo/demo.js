import { playThroughGate } from '/demo/client/hls.js';

const Hls = globalThis.Hls;
const find = (selector, within = document) => within.querySelector(selector);
const form = find('#open');
const players = new Map();
let events;

const element = (name, text, attributes = {}) =>
  Object.assign(document.createElement(name), { textContent: text }, attributes);
const api = (user, path, init) => fetch(`/v1/users/${encodeURIComponent(user)}${path}`, init);
const short = (id) => players.get(id)?.name ?? `a player elsewhere (${id.slice(-4)})`;

/** Shows the places of the user. Called again at each event of one of the user's sessions. */
async function showPlaces() {
  const reply = await api(form.user.value, '/sessions').catch(() => undefined);
  if (!reply?.ok) return;
  const { limit, sessions } = await reply.json();
  const free = Array.from({ length: Math.max(0, limit - sessions.length) }, () => element('li', 'free'));
  const taken = sessions.map(({ session_id, stream_id, state, phase }) => {
    const place = element('li', short(session_id));
    place.dataset.state = state;
    place.append(element('small', `${stream_id}, phase ${phase}, ${state}`));
    return place;
  });
  find('#places').replaceChildren(...taken, ...free);
}

/** Listens to the events of the chosen user, and of no other. */
function follow() {
  events?.close();
  if (!form.user.checkValidity()) return;
  events = new EventSource(`/v1/users/${encodeURIComponent(form.user.value)}/events`);
  for (const type of ['started', 'moved', 'ended', 'expired'])
    events.addEventListener(`session.${type}`, ({ data }) => {
      const { session_id, reason } = JSON.parse(data);
      find('#news').textContent = `${short(session_id)}: ${type}${reason ? `, ${reason}` : ''}`;
      void showPlaces();
    });
  void showPlaces();
}

let opened = 0;
function openPlayer(user, stream) {
  const card = find('#player').content.cloneNode(true).firstElementChild;
  const sessionId = crypto.randomUUID();
  const name = `Player ${++opened}`;
  const [video, over] = [find('video', card), find('.over', card)];
  // A small buffer: a player that has loaded everything sends no requests, and its session becomes idle while it plays.
  const hls = new Hls({ maxBufferLength: 8, maxMaxBufferLength: 8 });
  const url = `/v1/play/${stream}/index.m3u8?${new URLSearchParams({ user_id: user, session_id: sessionId })}`;
  const close = () => {
    hls.destroy();
    card.remove();
    players.delete(sessionId);
    find('#none').hidden = players.size > 0;
    void api(user, `/sessions/${sessionId}`, { method: 'DELETE', keepalive: true }).then(showPlaces);
  };
  players.set(sessionId, { name, close });
  find('.name', card).textContent = `${name}: ${stream}`;
  video.setAttribute('aria-label', name);
  find('.close', card).addEventListener('click', close);
  find('.close', card).setAttribute('aria-label', `Close ${name}`);
  find('#players').append(card);
  find('#none').hidden = true;
  hls.attachMedia(video);
  hls.on(Hls.Events.MANIFEST_PARSED, () => void video.play().catch(() => undefined));
  playThroughGate(hls, url, (refusal) => {
    video.pause();
    over.hidden = false;
    if (refusal.type === 'ended') {
      over.replaceChildren(
        element('strong', 'This player was stopped.'),
        element('span', `Reason: ${refusal.reason}`),
      );
      return;
    }
    const choices = refusal.sessions.map((session) =>
      element('button', `Stop ${short(session.sessionId)}, play here`, {
        type: 'button',
        onclick: async () => {
          await api(user, `/sessions/${session.sessionId}`, { method: 'DELETE' });
          over.hidden = true;
          hls.loadSource(url);
        },
      }),
    );
    over.replaceChildren(element('strong', `All ${refusal.limit} places are taken.`), ...choices);
    choices[0]?.focus();
  });
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  openPlayer(form.user.value, form.stream.value);
});
form.user.addEventListener('change', () => {
  for (const { close } of [...players.values()]) close();
  follow();
});
addEventListener('pagehide', () => {
  for (const { close } of [...players.values()]) close();
});

const { streams } = await (await fetch('/v1/streams')).json();
form.stream.replaceChildren(...streams.map(({ stream_id }) => element('option', stream_id)));
if (!Hls?.isSupported())
  find('#news').textContent = 'This browser has no Media Source Extensions, which hls.js needs.';
follow();
// There are no events for a session that becomes idle or gets its next phase, so the page also polls.
setInterval(() => void showPlaces(), 2_000);
