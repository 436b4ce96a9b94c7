-- Layout 1, of release 0.1.0: consecutive records, big-endian, without a byte that names the layout. The first byte of
-- a value is 0 (an ended record) or the first byte of an instant, which is 0x20 or more from 2024 on. Later layouts
-- begin with a byte between these two.
--   5  started   ms since EPOCH: when it was admitted (ended: 0)
--   5  active    ms since EPOCH: last activity        (ended: when it ended)
--   4  phase     the phase issued last                (ended: 0)
--   2  version   counts the changes of the session    (ended: 0)
--   4  paused    2 bits: status; 30 bits: ms from its last phase to its last activity
--   *  id        session id, its length before it
--   *  stream    stream id, its length before it      (ended: the reason)
-- Layout 1 cannot store the limit, the phases handed out ahead, the time left to play, the device and the client of a
-- session, nor the session that replaced another, nor the subject of a user. Records lose these when they are written
-- in layout 1. A session that is read from layout 1 has one phase and X left to play, so that it is due at the same
-- instant as in release 0.1.0.

-- @section read
local FRAME_1 = '>I5I5I4I2I4Bc0Bc0'
local EPOCH = 1577836800000 -- 2020-01-01; five bytes reach to 2054
local STATUS_1 = 2 ^ 30
local OLDEST_OF_LAYOUT_1 = 0x20

local function read_1(value)
  local records, count, at, size = {}, 0, 1, #value
  while at <= size do
    local from = at
    local started, active, phase, version, paused, id, stream
    started, active, phase, version, paused, id, stream, at = struct.unpack(FRAME_1, value, at)
    local status = math.floor(paused / STATUS_1)
    if status == 0 or id == '' or stream == '' then error('not a record') end
    started, active, paused = started + EPOCH, active + EPOCH, paused % STATUS_1
    count = count + 1
    records[count] = {
      id = id, status = status, started = started, active = active, phase = phase, version = version,
      paused = paused, stream = stream, max_sessions = 0, ahead = 0, run = 1, plays = X,
      due = due_at(status, active, X), at = LAYOUT == 1 and from, past = at - 1,
    }
  end
  return records
end

-- @section write
-- Release 0.1.0 knows no phase of more than four bytes. Such a phase is written as the greatest number that fits.
local function pack(r)
  return struct.pack(FRAME_1, math.max(0, r.started - EPOCH), r.active - EPOCH, math.min(r.phase, 4294967295), r.version,
    r.status * STATUS_1 + r.paused, #r.id, r.id, #r.stream, r.stream)
end

local function head()
  return ''
end

-- @section event
-- An event is a text of words that are separated by spaces. Its field name is `e`:
--   type at user session stream started active phase version reason|-
local EVENT_FIELD = 'e'

local function event_text(type, user, _, record, now, reason)
  return table.concat({
    type, now, user, record.id, record.stream, record.started, record.active, record.phase, record.version,
    reason or '-',
  }, ' ')
end
