-- withdraw: undoes an admission whose phase was not delivered, unless the session has changed since.
-- It compares the version in the same step. Otherwise it could undo a newer request of the same session.
-- Flags   allow-oom: it frees memory, or takes next to none
-- KEYS    of the user
-- ARGV    now           ms, or '' for the time of this server
--         user, session
--         started       when it was admitted, which distinguishes this life of the session id from others
--         version       the version of the session that the admission wrote
--         former_active, former_phase, former_stream, former_paused, former_plays, former_ahead, former_run
--                       the session before the admission; '' if the admission created the session
-- Returns 1 if this call undid the admission, else 0
local records_key, index_key, ring_key, state_key, buckets_key, outbox_key, aside_key = unpack(KEYS)
local now, user, session, started, version, former_active, former_phase, former_stream, former_paused, former_plays, former_ahead, former_run = unpack(ARGV)
-- @include shared/records
-- @include shared/journal
-- @include shared/changes
-- @include shared/events

local records, subject, value = load_records(user)
local record, at = find(records, session)
if not record or record.status == ENDED then return 0 end
if record.started ~= tonumber(started) or record.version ~= tonumber(version) then return 0 end

local active, bucket = tonumber(former_active), string.match(records_key, '%d+$')
if active then
  local moved = record.stream ~= former_stream and record.status == PERMANENT
  record.active, record.phase, record.stream = active, tonumber(former_phase), former_stream
  record.paused, record.version, record.at = tonumber(former_paused), next_version(record.version), nil
  record.plays, record.ahead, record.run = tonumber(former_plays), tonumber(former_ahead), tonumber(former_run)
  if moved then plan_event('moved', user, subject, record, read_clock(now)) end
  local due = due_at(record.status, active, record.plays)
  atomically(function()
    -- A sweep may have raised the scores because of the activity that is undone now.
    redis.call('ZADD', index_key, 'LT', due, user)
    redis.call('ZADD', buckets_key, 'LT', due, bucket)
    write_events()
    save_records(user, records, subject, value)
  end)
  announce_events()
  return 1
end
if record.status ~= RESERVED then return 0 end
table.remove(records, at)
atomically(function()
  count('undone', 1)
  save_records(user, records, subject, value)
end)
-- This comes last and may fail: a user without records in the index does no harm, and the sweep removes it.
if #records == 0 then
  redis.pcall('ZREM', index_key, user)
  if redis.pcall('EXISTS', index_key) == 0 then redis.pcall('ZREM', buckets_key, bucket) end
end
return 1
