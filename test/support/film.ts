import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The qualities of the film. The pictures are noisy, so that they take the rate that is asked for. */
export const QUALITIES = [
  { name: 'low', size: '320x180', height: 180, rate: '200k', bandwidth: 300_000, level: '16' },
  { name: 'high', size: '640x360', height: 360, rate: '2000k', bandwidth: 2_300_000, level: '16' },
] as const;
const ENCODED_SECONDS = 20;
const TIMES = 30;

/** Makes an HLS stream of ten minutes in two qualities in `folder`, which takes about 175 MB. Only 20 s of it are encoded. */
export async function makeFilm(ffmpeg: string, folder: string): Promise<void> {
  await Promise.all(
    QUALITIES.map(async ({ name, size, rate }) => {
      await mkdir(join(folder, name), { recursive: true });
      const part = join(folder, `${name}.mp4`);
      const picture = `testsrc=size=${size}:rate=10,noise=alls=40:allf=t`;
      const sound = 'sine=frequency=440:sample_rate=32000';
      const inputs = [
        '-f',
        'lavfi',
        '-i',
        picture,
        '-f',
        'lavfi',
        '-i',
        sound,
        '-t',
        String(ENCODED_SECONDS),
      ];
      const video = [
        '-c:v',
        'libx264',
        '-preset',
        'ultrafast',
        '-pix_fmt',
        'yuv420p',
        '-g',
        '40',
        '-sc_threshold',
        '0',
      ];
      const rates = ['-b:v', rate, '-maxrate', rate, '-bufsize', rate];
      const audio = ['-c:a', 'aac', '-b:a', '32k', '-ac', '1'];
      await run(ffmpeg, ['-nostdin', '-v', 'error', ...inputs, ...video, ...rates, ...audio, part]);
      const again = ['-stream_loop', String(TIMES - 1), '-i', part, '-c', 'copy'];
      const hls = ['-f', 'hls', '-hls_time', '4', '-hls_playlist_type', 'vod'];
      await run(ffmpeg, ['-nostdin', '-v', 'error', ...again, ...hls, join(folder, name, 'index.m3u8')]);
    }),
  );
  const variants = QUALITIES.flatMap(({ name, size, bandwidth, level }) => [
    `#EXT-X-STREAM-INF:BANDWIDTH=${bandwidth},CODECS="avc1.42c0${level},mp4a.40.2",RESOLUTION=${size}`,
    `${name}/index.m3u8`,
  ]);
  await writeFile(join(folder, 'index.m3u8'), ['#EXTM3U', '#EXT-X-VERSION:3', ...variants, ''].join('\n'));
}
