-- Shared by every script: the records of one user, as one field of a hash (field = user id).
--
-- Layout: records in a row, big-endian, 20 bytes and two strings each. One value a user and small hashes, because a
-- key a user would cost half as much memory again; 20 bytes, because with 21 two sessions with ids of 36 characters would
-- need the allocator's next size (docs/decisions/0006-memory.md).
--   5  started   ms since EPOCH: when it was admitted (ended: 0)
--   5  active    ms since EPOCH: last activity        (ended: when it was)
--   4  phase     the phase issued last                (ended: 0)
--   2  version   counts what happened to it           (ended: 0)
--   4  paused    2 bits: status; 30 bits: ms from its last phase to its last activity
--   *  id        session id, its length before it
--   *  stream    stream id, its length before it      (ended: the reason)
--
-- Everywhere else instants are Unix milliseconds, on this server's clock. `due` is when a record lapses if nothing happens.
-- The index of a bucket (a sorted set of users) scores each user at or below the earliest `due` of its records, and the
-- index of the partition (a sorted set of buckets) scores each bucket at or below its earliest user. A renewal touches
-- neither; the sweep re-scores what it finds to be due later.
local FORMAT = '>I5I5I4I2I4Bc0Bc0'
local EPOCH = 1577836800000 -- 2020-01-01; five bytes reach to 2054
local STATUS = 2 ^ 30
local RESERVED, PERMANENT, ENDED = 1, 2, 3
local MAX_ENDED = 100 -- MAX_ENDED_RECORDS of admission.ts

-- TIME is read once, so that a script sees one instant. Only tests give another.
local function read_clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function due_at(status, active, ttl, lease)
  return active + (status == RESERVED and lease or ttl)
end

local function decode(value, ttl, lease)
  local records, count, at = {}, 0, 1
  while value and at <= #value do
    local started, active, phase, version, paused, id, stream
    started, active, phase, version, paused, id, stream, at = struct.unpack(FORMAT, value, at)
    local status = math.floor(paused / STATUS)
    started, active, paused = started + EPOCH, active + EPOCH, paused % STATUS
    count = count + 1
    records[count] = {
      id = id, status = status, started = started, active = active, phase = phase, version = version,
      paused = paused, stream = stream, due = due_at(status, active, ttl, lease),
    }
  end
  return records
end

local function encode(records)
  local parts = {}
  for i, r in ipairs(records) do
    parts[i] = struct.pack(FORMAT, math.max(0, r.started - EPOCH), r.active - EPOCH, r.phase, r.version,
      r.status * STATUS + r.paused, #r.id, r.id, #r.stream, r.stream)
  end
  return table.concat(parts)
end

local function load_records(key, user, ttl, lease)
  return decode(redis.call('HGET', key, user), ttl, lease)
end

local function save_records(key, user, records)
  if #records == 0 then redis.call('HDEL', key, user) else redis.call('HSET', key, user, encode(records)) end
end

local function enlist(index, buckets, bucket, user, due)
  redis.call('ZADD', index, 'LT', due, user)
  redis.call('ZADD', buckets, 'LT', due, bucket)
end

local function find(records, id)
  for i, record in ipairs(records) do
    if record.id == id then return record, i end
  end
end

local function next_version(version)
  return version >= 65535 and 1 or version + 1
end

-- Longest silent first. Ids are compared by bytes: Lua's own < follows the server's locale.
local function longer_silent(a, b)
  if a.active ~= b.active then return a.active < b.active end
  for i = 1, math.min(#a.id, #b.id) do
    local x, y = string.byte(a.id, i), string.byte(b.id, i)
    if x ~= y then return x < y end
  end
  return #a.id < #b.id
end

-- How a session travels in a reply: five values in a row.
local function append(reply, record)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = record.id, record.stream, record.started
  reply[n + 4], reply[n + 5] = record.active, record.phase
end

-- Turns a held record into an ended one.
local function close(record, reason, now)
  record.status, record.started, record.active, record.stream = ENDED, 0, now, reason
  record.phase, record.version, record.paused = 0, 0, 0
end

-- Without the oldest of the ended ones beyond MAX_ENDED.
local function forget_oldest_ended(records)
  local ended, forgotten, kept = {}, {}, {}
  for _, record in ipairs(records) do
    if record.status == ENDED then ended[#ended + 1] = record end
  end
  if #ended <= MAX_ENDED then return records end
  table.sort(ended, longer_silent)
  for i = 1, #ended - MAX_ENDED do forgotten[ended[i]] = true end
  for _, record in ipairs(records) do
    if not forgotten[record] then kept[#kept + 1] = record end
  end
  return kept
end
