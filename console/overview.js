/** The last hour in small charts. The figures are asked for every 15 s, only while this view is open. */
import { durationOf, element, find, setText, timeOf } from './page.js';
import { ask } from './service.js';

const REFRESH_MS = 15_000;
const MINUTES = 60;
const [WIDTH, HEIGHT] = [240, 48];
const SVG = 'http://www.w3.org/2000/svg';

const CHARTS = [
  { name: 'live', title: 'Live sessions', line: true },
  { name: 'admitted', title: 'Admitted' },
  { name: 'refused', title: 'Refused, by this instance' },
  { name: 'expired', title: 'Expired' },
  { name: 'ended', title: 'Ended' },
  { name: 'callbacks_waiting', title: 'Callbacks waiting', line: true },
];

/** Shows the overview until `signal` is aborted. `fail` gets each Failure. */
export function showOverview({ signal, fail }) {
  const refresh = async () => {
    try {
      const [{ body }] = await Promise.all([ask('/console/data/overview'), showHealth()]);
      if (signal.aborted) return;
      fail(undefined);
      draw(body);
    } catch (error) {
      if (!signal.aborted) fail(error);
    }
  };
  const timer = setInterval(() => document.hidden || refresh(), REFRESH_MS);
  signal.addEventListener('abort', () => clearInterval(timer));
  void refresh();
}

async function showHealth() {
  const health = await ask('/health/ready').then(
    ({ body }) => body.status,
    () => 'not ready',
  );
  find('#health').dataset.state = health;
  setText(find('#health'), health === 'ok' ? 'healthy' : health);
}

function draw({ minutes, callbacks }) {
  const since = minutes[0].from;
  setText(
    find('#overview-note'),
    `Each bar is a minute; the last one is not over. Figures of the whole system, kept by the instance that answers, since ${timeOf(since)}.`,
  );
  find('#charts').replaceChildren(...CHARTS.map((chart) => chartOf(chart, minutes)));
  const age =
    callbacks.oldest_at === null
      ? ''
      : `, the oldest for ${durationOf(Date.now() - Date.parse(callbacks.oldest_at))}`;
  const rows = {
    Receivers: callbacks.receivers,
    Waiting: `${callbacks.waiting}${age}`,
    'Given up': callbacks.dead_letters,
    Lost: callbacks.lost,
  };
  find('#callbacks').replaceChildren(
    ...Object.entries(rows).map(([name, value]) =>
      element('div', {}, element('dt', {}, name), element('dd', {}, String(value))),
    ),
  );
  const cells = (kind, texts) => element('tr', {}, ...texts.map((text) => element(kind, {}, String(text))));
  find('thead').replaceChildren(cells('th', ['From', ...CHARTS.map(({ title }) => title)]));
  find('tbody').replaceChildren(
    ...minutes
      .toReversed()
      .map((minute) => cells('td', [timeOf(minute.from), ...CHARTS.map(({ name }) => minute[name])])),
  );
}

function chartOf({ name, title, line }, minutes) {
  const values = minutes.map((minute) => minute[name]);
  const [most, last] = [Math.max(...values), values.at(-1)];
  const svg = shape('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' });
  svg.setAttribute(
    'aria-label',
    `${title}: now ${last}, highest ${most} in ${durationOf(minutes.length * 60_000)}`,
  );
  const step = WIDTH / MINUTES;
  const end = Date.parse(minutes.at(-1).to);
  const points = minutes.map((minute, at) => {
    // By time and not by number, because minutes without an answer of the store are missing.
    const age = Math.round((end - Date.parse(minute.to)) / 60_000);
    const height = most === 0 ? 0 : (values[at] / most) * (HEIGHT - 2);
    return { x: WIDTH - (age + 1) * step, height };
  });
  if (line && points.length > 1) {
    const path = points.map(({ x, height }) => `${x + step / 2},${HEIGHT - 1 - height}`).join(' ');
    svg.append(shape('polyline', { points: path, class: 'line' }));
  } else {
    for (const { x, height } of points)
      svg.append(
        shape('rect', {
          x,
          y: HEIGHT - Math.max(height, 0.5),
          width: step - 0.75,
          height: Math.max(height, 0.5),
          class: 'bar',
        }),
      );
  }
  const head = element(
    'p',
    {},
    `${title} `,
    element('strong', {}, String(last)),
    element('small', {}, ` highest ${most}`),
  );
  const figure = element('div', { className: 'chart' }, head, svg);
  figure.dataset.chart = name;
  return figure;
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
