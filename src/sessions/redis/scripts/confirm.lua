-- confirm: makes a session permanent when its first phase was delivered.
-- Nothing changes if the session has lost its place: its reservation was claimed, it was ended, or a later session has
-- the same id.
-- Flags   allow-oom: it frees memory, or takes next to none
-- KEYS    of the user
-- ARGV    now           ms, or '' for the time of this server
--         user, session
--         started       when it was admitted, which distinguishes this life of the session id from others
-- Returns 1 if the session is permanent now, by this call or an earlier one, else 0
local records_key, index_key, ring_key, state_key, buckets_key, outbox_key, aside_key = unpack(KEYS)
local now, user, session, started = unpack(ARGV)
-- @include shared/records
-- @include shared/journal
-- @include shared/changes
-- @include shared/events

local records, subject, value = load_records(user)
local record = find(records, session)
if not record or record.status == ENDED or record.started ~= tonumber(started) then return 0 end
if record.status == PERMANENT then return 1 end
record.status, record.at = PERMANENT, nil
plan_event('started', user, subject, record, read_clock(now))
atomically(function()
  write_events()
  save_records(user, records, subject, value)
end)
announce_events()
return 1
