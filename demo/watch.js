import { watch } from '/demo/client/watch.js';

/**
 * Appends segments to a video element by Media Source Extensions: MPEG-TS, which mux.js makes into MP4, and MP4 with its
 * initialization section; also parts of a file, and segments that are encrypted whole with AES-128.
 */
class Feed {
  #source = new MediaSource();
  #opened = new Promise((resolve) => this.#source.addEventListener('sourceopen', resolve, { once: true }));
  #buffer;
  /** One for all segments, because the sound of a segment may end a little before or after its pictures. */
  #muxer;
  #init = '';

  constructor(video) {
    video.src = URL.createObjectURL(this.#source);
  }

  async append(segment) {
    await this.#opened;
    const bytes = await decrypted(await download(segment), segment);
    const init = segment.init && `${segment.init.url} ${segment.init.byteRange?.offset}`;
    if (segment.init && init !== this.#init) {
      this.#init = init;
      await this.#appendBytes(await download(segment.init));
    }
    await this.#appendBytes(segment.init ? bytes : await this.#transmuxed(bytes));
  }

  #transmuxed(bytes) {
    this.#muxer ??= new globalThis.muxjs.Transmuxer();
    return new Promise((resolve) => {
      const take = ({ initSegment, data }) => {
        this.#muxer.off('data', take);
        const both = new Uint8Array(initSegment.length + data.length);
        both.set(initSegment);
        both.set(data, initSegment.length);
        resolve(both);
      };
      this.#muxer.on('data', take);
      this.#muxer.push(bytes);
      this.#muxer.flush();
    });
  }

  end() {
    if (this.#source.readyState === 'open') this.#source.endOfStream();
  }

  async #appendBytes(bytes) {
    if (this.#buffer === undefined) {
      this.#buffer = this.#source.addSourceBuffer(`video/mp4; codecs="${codecs(bytes)}"`);
    }
    const appended = new Promise((resolve, reject) => {
      this.#buffer.addEventListener('updateend', resolve, { once: true });
      this.#buffer.addEventListener(
        'error',
        () => reject(new Error('The browser cannot read this segment.')),
        {
          once: true,
        },
      );
    });
    this.#buffer.appendBuffer(bytes);
    await appended;
  }
}

async function download({ url, byteRange }) {
  const headers = byteRange
    ? { range: `bytes=${byteRange.offset}-${byteRange.offset + byteRange.length - 1}` }
    : {};
  const reply = await fetch(url, { headers });
  if (!reply.ok) throw new Error(`A segment was answered by ${reply.status}.`);
  return new Uint8Array(await reply.arrayBuffer());
}

/** RFC 8216, 4.3.2.4. Without an IV, the sequence number of the segment is the IV. */
async function decrypted(bytes, { key, sequence }) {
  if (key === undefined || key.method === 'NONE') return bytes;
  if (key.method !== 'AES-128') throw new Error(`This page cannot decrypt ${key.method}.`);
  const hex = (key.iv ?? `0x${(sequence ?? 0).toString(16)}`).slice(2).padStart(32, '0');
  const iv = Uint8Array.from(hex.match(/../g), (byte) => parseInt(byte, 16));
  const secret = await crypto.subtle.importKey('raw', await download(key), 'AES-CBC', false, ['decrypt']);
  return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-CBC', iv }, secret, bytes));
}

/** The codecs of an initialization section: H.264 with the profile and level of its box `avcC`, and AAC if it has sound. */
function codecs(init) {
  const at = (name) => {
    const wanted = [...name].map((letter) => letter.charCodeAt(0));
    return init.findIndex((_, from) => wanted.every((byte, i) => init[from + i] === byte));
  };
  const box = at('avcC');
  const found = [];
  if (box >= 0) {
    const profile = [...init.subarray(box + 5, box + 8)];
    found.push(`avc1.${profile.map((byte) => byte.toString(16).padStart(2, '0')).join('')}`);
  }
  if (at('mp4a') >= 0) found.push('mp4a.40.2');
  return found.join(',');
}

const form = document.querySelector('#open');
const video = document.querySelector('video');
const tell = (text) => (document.querySelector('#news').textContent = text);

/** Resolves to the session that the viewer chose to stop. */
function choice(sessions) {
  return new Promise((resolve) => {
    const buttons = sessions.map(({ sessionId, streamId, device }) =>
      Object.assign(document.createElement('button'), {
        type: 'button',
        textContent: `Stop ${device?.name ?? sessionId} (${streamId}), watch here`,
        onclick: () => {
          document.querySelector('#choices').replaceChildren();
          resolve(sessionId);
        },
      }),
    );
    document.querySelector('#choices').replaceChildren(...buttons);
  });
}

let viewing;
async function play(userId, streamId) {
  await viewing?.stop();
  const mine = (viewing = watch({ userId, streamId }));
  const feed = new Feed(video);
  video.onpause = () => video.ended || mine.pause(); // at its end a video also pauses
  video.onplay = () => mine.resume();
  try {
    for await (const result of mine) {
      if (result.type === 'phase') {
        const { index, segments, last } = result.phase;
        for (const segment of segments) await feed.append(segment);
        if (last) feed.end();
        tell(`Phase ${index}, ${segments.length} segments`);
        if (video.currentTime === 0 && video.buffered.length > 0) {
          video.currentTime = video.buffered.start(0); // a session that continues does not begin at 0
          void video.play().catch(() => undefined);
        }
      } else if (result.type === 'refused') {
        tell(`All ${result.limit} places are taken.`);
        mine.takeOver([await choice(result.sessions)]);
      } else if (result.type === 'ended') {
        video.pause();
        tell(`This session was ended: ${result.reason}.`);
      } else tell('The film is over, and its place was given back.');
    }
  } catch (error) {
    video.pause();
    tell(`Stopped: ${error.message}`);
  }
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  void play(form.user.value, form.stream.value);
});
