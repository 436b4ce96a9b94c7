-- Layout 2: one byte that names the layout, then consecutive records, big-endian.
--   1  layout        4 low bits: 2; bit 4: the subject of the user follows, its length (1 byte) before it
--   4  status        2 bits: status; 27 bits: ms from its last phase to its last activity; 3 bits: WIDE, CLIENT, EXTRA
--   5  started       ms since EPOCH: when it was admitted                  (ended: 0)
--   5  active        ms since EPOCH: last activity                         (ended: when it ended)
--   4  phase         the phase issued last, its 32 low bits                (ended: 0)
--   2  version       counts the changes of the session                     (ended: 0)
--   6  10 bits: the limit that it was last admitted at, 0 if unknown; 4 bits: phases handed out ahead; 4 bits: phases
--      handed out in a row; 30 bits: ms to play after `active`         (ended: 0)
--   *  id            session id, its length (1 byte) before it
--   *  stream        stream id, its length (1 byte) before it              (ended: the reason)
--   3  phase         WIDE: its 21 high bits
--   *  client        CLIENT: a text, its length (1 byte) before it
--   *  extra         EXTRA: JSON, its length (2 bytes) before it: the device of a session, or of an ended one the session
--                    that replaced it
-- A session takes 6 bytes more than in layout 1, and a user takes 1 byte more.

-- @section read
local FRAME_2 = '>I4I5I5I4I2I6Bc0Bc0'
local WIDE, CLIENT, EXTRA = 1, 2, 4
local PAUSED_2, STATUS_2, PLAYS = 2 ^ 3, 2 ^ 30, 2 ^ 30

local function read_2(value)
  local records, count, at, size, subject = {}, 0, 2, #value, nil
  if string.byte(value) ~= 2 then
    if string.byte(value) ~= 18 then error('unknown flags') end
    subject, at = struct.unpack('>Bc0', value, 2)
  end
  while at <= size do
    local from = at
    local word, started, active, phase, version, numbers, id, stream
    word, started, active, phase, version, numbers, id, stream, at = struct.unpack(FRAME_2, value, at)
    local status, flags = math.floor(word / STATUS_2), word % 8
    if status == 0 or id == '' or stream == '' then error('not a record') end
    started, active = started + EPOCH, active + EPOCH
    local plays = numbers % PLAYS
    numbers = math.floor(numbers / PLAYS)
    local record = {
      id = id, status = status, started = started, active = active, phase = phase, version = version,
      paused = math.floor(word % STATUS_2 / PAUSED_2), stream = stream, max_sessions = math.floor(numbers / 256),
      ahead = math.floor(numbers / 16) % 16, run = numbers % 16, plays = plays,
      due = due_at(status, active, plays), at = LAYOUT == 2 and from,
    }
    if flags > 0 then
      if flags % 2 >= WIDE then
        local high
        high, at = struct.unpack('>I3', value, at)
        record.phase = high * 4294967296 + phase
      end
      if flags % 4 >= CLIENT then record.client, at = struct.unpack('>Bc0', value, at) end
      if flags >= EXTRA then record.extra, at = struct.unpack('>I2c0', value, at) end
    end
    record.past = at - 1
    count = count + 1
    records[count] = record
  end
  return records, subject
end

-- @section write
local function pack(r)
  local high = math.floor(r.phase / 4294967296)
  local flags = (high > 0 and WIDE or 0) + (r.client and CLIENT or 0) + (r.extra and EXTRA or 0)
  local numbers = ((r.max_sessions * 16 + r.ahead) * 16 + r.run) * PLAYS + r.plays
  local packed = struct.pack(FRAME_2, r.status * STATUS_2 + r.paused * PAUSED_2 + flags, math.max(0, r.started - EPOCH),
    r.active - EPOCH, r.phase % 4294967296, r.version, numbers, #r.id, r.id, #r.stream, r.stream)
  if flags == 0 then return packed end
  return packed .. (high > 0 and struct.pack('>I3', high) or '')
    .. (r.client and struct.pack('>Bc0', #r.client, r.client) or '')
    .. (r.extra and struct.pack('>I2c0', #r.extra, r.extra) or '')
end

local function head(subject)
  return subject and '\18' .. struct.pack('>Bc0', #subject, subject) or '\2'
end

-- @section event
-- An event is JSON with the field name `e2`. Its texts are ids, which need no escaping, or are JSON already; only the
-- subject needs it. The event is not written by cjson, which is no faster and rounds a phase of 16 digits.
local EVENT_FIELD = 'e2'

local function event_text(type, user, subject, record, now, reason, replaced_by)
  return string.format(
    '{"type":"%s","at":%.0f,"user":"%s","session":"%s","stream":"%s","started":%.0f,"active":%.0f,"plays":%.0f,' ..
    '"phase":%.0f,"version":%.0f%s%s%s%s}',
    type, now, user, record.id, record.stream, record.started, record.active, record.plays, record.phase, record.version,
    subject and ',"subject":' .. cjson.encode(subject) or '', record.extra and ',"device":' .. record.extra or '',
    reason and ',"reason":"' .. reason .. '"' or '',
    replaced_by and ',"replaced_by":' .. replaced_by or '')
end
