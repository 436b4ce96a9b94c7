-- Shared by every script that reads sessions. All records of a user are one value of a hash (field = user id). The
-- files of layout/ describe the bytes of the value. This release reads both layouts and writes the one that LAYOUT
-- names.
--
-- A record is a table: id, status, started, active, phase, version, paused, stream, max_sessions (0 if unknown),
-- ahead, run, plays (ms left to play at `active`), client, extra (JSON of its device), due, and the position of its
-- bytes in the value (at, past). An ended record has the time of its end in `active`, the reason in `stream`, and in
-- `extra` the session that replaced it. Instants are Unix milliseconds on this server's clock. `due` is the instant at
-- which a record lapses if no request changes it.
--
-- The index of a bucket is a sorted set of users. The score of a user is at most the earliest `due` of its records.
-- The index of the partition is a sorted set of buckets. The score of a bucket is at most the lowest score of its
-- users. A renewal changes neither index; the sweep corrects scores that are too low.
--
-- Each call of a script creates all of its functions again, at 50 ns each. So this file has few functions, and a
-- script includes code that a renewal does not need after the point where a renewal returns.
local RESERVED, PERMANENT, ENDED = 1, 2, 3

-- The phase as a reply contains it. The Redis client misreads integers of 16 digits, so the reply has these as texts.
local function shown(phase)
  return phase < 1000000000000000 and phase or string.format('%.0f', phase)
end

-- Reads the time once, so that the whole script works with one instant. Only tests pass a time.
local function read_clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A session expires n·X after its last activity. If it has more than X left to play, it expires later by the excess.
local function due_at(status, active, plays)
  if status == RESERVED then return active + LEASE end
  return active + (plays > X and plays - X or 0) + TTL
end

-- @include layout/layout-1 read
-- @include layout/layout-2 read
-- @include layout/layout-LAYOUT write

-- Decodes a value. Returns its records and, if the value has one, the subject (the user's name at the issuer). Raises
-- an error for an unreadable value: one of an unknown layout, a truncated one, or one that this service did not write.
local function decode(value)
  local first = string.byte(value)
  if first == 0 or first >= OLDEST_OF_LAYOUT_1 then return read_1(value) end
  if first % 16 == 2 then return read_2(value) end
  error('unknown layout')
end

-- Returns the records of a user, the subject, and the value that contains them. A user without a value has no records.
-- An unreadable value is moved to the quarantine at once, in a step of its own; then the user has no records either.
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

-- Encodes records into a value. The bytes of an unchanged record are copied from `value`, the value that it was in.
local function encode(records, subject, value)
  local parts = { head(subject) }
  for i, record in ipairs(records) do
    parts[i + 1] = record.at and string.sub(value, record.at, record.past) or pack(record)
  end
  return table.concat(parts)
end
