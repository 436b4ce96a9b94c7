#!/usr/bin/env bash
#
# Makes the sample streams that ship with the service. They consist of ffmpeg's
# own test pictures and tones, so that the repository contains no material of
# others:
#
#   streams/test-pattern  64 s, 360p and 720p: a counter of seconds, a moving
#                         rainbow and a beep each second
#   streams/colour-bars   60 s, 360p: a white square that moves back and forth over
#                         colour bars, with a higher beep. A session can move to
#                         this second stream.
#
# It needs Debian's ffmpeg, which has libx264 (the streams were made with 5.1, of
# Debian 12). Run it again after a change here, and commit the result. The same
# versions of ffmpeg and libx264 give the same bytes; other versions may not.
#
# Why these choices:
#   - 10 pictures per second, and sound at 32 kHz: 4 s are then exactly 40 pictures
#     and 125 AAC frames of 1024 samples, so that both end where a segment ends.
#     (At 48 kHz, 4 s are 187.5 frames, and every other segment would cut one.)
#   - Each rendition contains the sound, so that a player needs one segment only.
#   - testsrc instead of testsrc2: it takes a third of the bytes, and its large
#     counter needs no font, which a machine may lack.
#   - A small size limit, because git keeps every version forever.

set -euo pipefail
export LC_ALL=C # awk and printf must write 10.000, never 10,000

cd "$(dirname "${BASH_SOURCE[0]}")"

readonly LIMIT=1500000 # bytes, all of samples/
readonly FPS=10
readonly SEGMENT=4 # seconds

# render FOLDER SECONDS LEVEL TONE PICTURE: one rendition, segments and playlist.
render() {
  local folder=$1 seconds=$2 level=$3 tone=$4 picture=$5
  # The tone is a short beep: a steady tone is unpleasant and takes more bytes.
  local beep="sine=frequency=$tone:sample_rate=32000,volume='lt(mod(t,1),0.15)':eval=frame"
  # One key frame at each segment's start and nowhere else.
  local gop=$((FPS * SEGMENT))

  mkdir -p "$folder"
  # One thread and bitexact throughout, so that two runs give the same bytes.
  # No B-frames: they save nothing on such pictures, and without them decoding
  # order is the order shown, which keeps each segment's edges simple.
  # ffmpeg starts each segment with the PAT and PMT, which is what HLS needs;
  # repeating them ten times a second, the default, would only add bytes.
  ffmpeg -nostdin -hide_banner -loglevel error \
    -filter_threads 1 -filter_complex_threads 1 \
    -filter_complex "$picture,scale=flags=bicubic+accurate_rnd+bitexact,format=yuv420p[v];${beep}[a]" \
    -map '[v]' -map '[a]' -t "$seconds" -fflags +bitexact \
    -c:v libx264 -threads:v 1 -flags:v +bitexact+cgop -profile:v main -level:v "$level" \
    -preset veryslow -crf 34 -bf 0 -g "$gop" -keyint_min "$gop" -sc_threshold 0 \
    -c:a aac -threads:a 1 -flags:a +bitexact -ac 1 -b:a 16k \
    -f hls -hls_time "$SEGMENT" -hls_playlist_type vod -hls_flags independent_segments \
    -hls_segment_options "pat_period=$SEGMENT:sdt_period=$SEGMENT" \
    -hls_segment_filename "$folder/segment-%03d.ts" "$folder/index.m3u8"
}

# variant STREAM NAME SECONDS LEVEL RESOLUTION: prints the variant's lines of the
# multivariant playlist. The script measures the rates itself: ffmpeg would count
# only the sound, because the quality of the picture is fixed and not its rate.
# BANDWIDTH is the rate of the largest segment, as RFC 8216 requires.
variant() {
  local stream=$1 name=$2 seconds=$3 level=$4 resolution=$5
  local peak average codec
  read -r peak average < <(stat -c %s "streams/$stream/$name"/*.ts |
    awk -v s="$SEGMENT" -v t="$seconds" '$1 > m { m = $1 } { sum += $1 }
      END { printf "%d %d\n", m * 8 / s, sum * 8 / t }')
  # 4d40 is H.264 main as libx264 marks it; then the level times ten, in hex.
  codec=$(printf 'avc1.4d40%02x' "${level/./}")
  printf '#EXT-X-STREAM-INF:BANDWIDTH=%d,AVERAGE-BANDWIDTH=%d,CODECS="%s,mp4a.40.2",RESOLUTION=%s,FRAME-RATE=%d.000\n%s/index.m3u8\n' \
    "$peak" "$average" "$codec" "$resolution" "$FPS" "$name"
}

header() { printf '#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n'; }

# Only these two streams are removed; other streams beside them stay.
rm -rf streams/test-pattern streams/colour-bars

render streams/test-pattern/360p 64 3.0 440 "testsrc=size=640x360:rate=$FPS"
render streams/test-pattern/720p 64 3.1 440 "testsrc=size=1280x720:rate=$FPS"
# The lower rendition first: many players start with the first one listed.
{
  header
  variant test-pattern 360p 64 3.0 640x360
  variant test-pattern 720p 64 3.1 1280x720
} >streams/test-pattern/index.m3u8

# The square takes 4 s each way, so each segment is one crossing.
render streams/colour-bars/360p 60 3.0 880 \
  "smptebars=size=640x360:rate=${FPS}[bars];color=white:size=48x48:rate=${FPS}[square];[bars][square]overlay=x='(W-w)*(1-abs(mod(t/$SEGMENT,2)-1))':y='(H-h)/3'"
{
  header
  variant colour-bars 360p 60 3.0 640x360
} >streams/colour-bars/index.m3u8

total=$(du -sb . | cut -f1)
echo "samples: $total bytes of at most $LIMIT"
if ((total > LIMIT)); then
  echo 'samples: too large; raise -crf or shorten a stream' >&2
  exit 1
fi
