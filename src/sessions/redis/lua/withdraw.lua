-- withdraw: the phase did not arrive, so its admission is undone, unless something happened to the session since.
-- Compared by version in the same step: a plain read and write could undo a newer request of the same session.
-- Flags   allow-oom: it frees memory, or takes next to none
-- KEYS[1] the users' records
-- KEYS[2] the index of the bucket
-- KEYS[3] the partition's ring
-- KEYS[4] the partition's state
-- KEYS[5] the index of the partition
-- KEYS[6] the partition's outbox
-- ARGV    now | '', user, session, started, version, ttl ms, lease ms, former active | '', former phase,
--         former stream, former paused, bucket, types for the outbox
-- Returns 1 where it undid something, else 0
local user, ttl, lease = ARGV[2], tonumber(ARGV[6]), tonumber(ARGV[7])
local records = load_records(KEYS[1], user, ttl, lease)
local record, at = find(records, ARGV[3])
if not record or record.status == ENDED then return 0 end
if record.started ~= tonumber(ARGV[4]) or record.version ~= tonumber(ARGV[5]) then return 0 end

local active = tonumber(ARGV[8])
if active then
  local moved = record.stream ~= ARGV[10] and record.status == PERMANENT
  record.active, record.phase, record.stream, record.paused = active, tonumber(ARGV[9]), ARGV[10], tonumber(ARGV[11])
  record.version = next_version(record.version)
  save_records(KEYS[1], user, records)
  -- The sweep may have re-scored the user by the activity that is taken back.
  enlist(KEYS[2], KEYS[5], ARGV[12], user, due_at(record.status, active, ttl, lease))
  if moved then tell(book(KEYS[3], KEYS[6], KEYS[4], ARGV[13]), user, 'moved', record, read_clock(ARGV[1])) end
  return 1
end
if record.status ~= RESERVED then return 0 end
table.remove(records, at)
save_records(KEYS[1], user, records)
if #records == 0 then
  redis.call('ZREM', KEYS[2], user)
  if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('ZREM', KEYS[5], ARGV[12]) end
end
count(KEYS[4], 'undone', 1)
return 1
