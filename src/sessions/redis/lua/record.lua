-- Shared by every script: the record of one session, as one field of the user's hash (field = session id).
--
-- Layout, big-endian, 19 bytes and a string. Binary, because a hash value over 64 bytes would leave Redis's compact
-- encoding and cost 1.8 times the memory; this way a stream id of 36 characters leaves 9 bytes to spare.
--   1  status    R reserved | P permanent | E ended on purpose
--   6  started   ms: when it was admitted (E: 0)
--   6  active    ms: last activity        (E: when it was ended)
--   4  phase     the phase issued last    (E: 0)
--   2  version   counts its admissions    (E: 0)
--   *  stream    stream id                (E: the reason)
--
-- Instants are Unix milliseconds on this server's clock. `due` is when a record lapses if nothing happens.
-- The index (a sorted set of users) scores each user at or below the earliest `due` of its records: a renewal never
-- touches it, and the sweep re-scores whoever it finds renewed.
local FORMAT = '>BI6I6I4I2'
local RESERVED, PERMANENT, ENDED = string.byte('RPE', 1, 3)
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

local function decode(id, value, ttl, lease)
  local status, started, active, phase, version = struct.unpack(FORMAT, value)
  return {
    id = id, status = status, started = started, active = active, phase = phase, version = version,
    stream = string.sub(value, 20), due = due_at(status, active, ttl, lease),
  }
end

local function load_records(key, ttl, lease)
  local flat, records = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do records[#records + 1] = decode(flat[i], flat[i + 1], ttl, lease) end
  return records
end

local function store(key, id, status, started, active, phase, version, stream)
  redis.call('HSET', key, id, struct.pack(FORMAT, status, started, active, phase, version) .. stream)
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

-- Turns held records into ended ones, and forgets the oldest ended ones beyond MAX_ENDED.
local function end_records(key, ending, all, reason, now)
  if #ending == 0 then return end
  local ended = {}
  for _, record in ipairs(ending) do
    record.status, record.active = ENDED, now
    store(key, record.id, ENDED, 0, now, 0, 0, reason)
  end
  for _, record in ipairs(all) do
    if record.status == ENDED then ended[#ended + 1] = record end
  end
  if #ended <= MAX_ENDED then return end
  table.sort(ended, longer_silent)
  for i = 1, #ended - MAX_ENDED do redis.call('HDEL', key, ended[i].id) end
end
