-- Shared by every script that reads sessions: the records of one user are one field of a hash (field = user id). The files
-- of layout/ say how the bytes of a value look: this release reads both layouts, and writes the one that LAYOUT names.
--
-- A record is a table: id, status, started, active, phase, version, paused, stream, max_sessions (0 if unknown), ahead, run,
-- plays (ms left to play at `active`), client, extra (JSON of its device), due, and the place of its bytes in the value (at,
-- past). An ended record has the time of its end in `active`, the reason in `stream`, and in `extra` the session that
-- replaced it. Instants are Unix milliseconds on this server's clock. `due` is the instant at which a record lapses if
-- nothing happens.
--
-- The index of a bucket (a sorted set of users) scores each user at or below the earliest `due` of its records, and the
-- index of the partition (a sorted set of buckets) scores each bucket at or below its earliest user. A renewal touches
-- neither index; the sweep corrects the scores that it finds too low.
--
-- A script makes all of its functions anew in each call, 50 ns each. So this file has few of them, and a script includes
-- what a renewal does not need after the point where a renewal returns.
local RESERVED, PERMANENT, ENDED = 1, 2, 3

-- A phase in a reply. The client reads integers of 16 digits wrongly, so that those go as texts.
local function shown(phase)
  return phase < 1000000000000000 and phase or string.format('%.0f', phase)
end

-- The time is read once, so that a script sees one instant. Only tests give another.
local function read_clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A session expires n·X after its last activity, or as much later as it has more than X to play.
local function due_at(status, active, plays)
  if status == RESERVED then return active + LEASE end
  return active + (plays > X and plays - X or 0) + TTL
end

-- @include layout/layout-1 read
-- @include layout/layout-2 read
-- @include layout/layout-LAYOUT write

-- The records of a value, and the user's name at the issuer where the value holds one. Raises an error for a value that it
-- cannot read: of another layout, cut short, or foreign.
local function decode(value)
  local first = string.byte(value)
  if first == 0 or first >= OLDEST_OF_LAYOUT_1 then return read_1(value) end
  if first % 16 == 2 then return read_2(value) end
  error('unknown layout')
end

-- The records of a user, the subject, and the value that holds them. A user without a value has no records. Neither has one whose value cannot be read:
-- that value is set aside at once, as a step of its own, and the caller goes on without it.
local function load_records(user)
  local value = redis.call('HGET', records_key, user)
  if not value then return {} end
  local readable, records, subject = pcall(decode, value)
  if readable then return records, subject, value end
  -- @include shared/journal
  -- @include shared/quarantine
  atomically(function()
    set_aside(user, value)
    redis.call('HDEL', records_key, user)
  end)
  return {}
end

-- The value of these records. The bytes of a record that did not change are copied from the value that it was read from.
local function encode(records, subject, value)
  local parts = { head(subject) }
  for i, record in ipairs(records) do
    parts[i + 1] = record.at and string.sub(value, record.at, record.past) or pack(record)
  end
  return table.concat(parts)
end
