-- withdraw: the phase did not arrive, so its admission is undone, unless something happened to the session since.
-- Compared by version in the same step: a plain read and write could undo a newer request of the same session.
-- Flags   allow-oom: it frees memory, or takes none
-- KEYS[1] the user's records
-- KEYS[2] the index of the user's partition
-- ARGV    user, session, started, version, ttl ms, lease ms, former active | '', former phase, former stream
-- Returns 1 where it undid something, else 0
local value = redis.call('HGET', KEYS[1], ARGV[2])
if not value then return 0 end
local ttl, lease = tonumber(ARGV[5]), tonumber(ARGV[6])
local record = decode(ARGV[2], value, ttl, lease)
if record.status == ENDED then return 0 end
if record.started ~= tonumber(ARGV[3]) or record.version ~= tonumber(ARGV[4]) then return 0 end

local active = tonumber(ARGV[7])
if active then
  local version = next_version(record.version)
  store(KEYS[1], record.id, record.status, record.started, active, tonumber(ARGV[8]), version, ARGV[9])
  -- The sweep may have re-scored the user by the activity that is taken back.
  redis.call('ZADD', KEYS[2], 'LT', due_at(record.status, active, ttl, lease), ARGV[1])
  return 1
end
if record.status ~= RESERVED then return 0 end
redis.call('HDEL', KEYS[1], record.id)
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
return 1
