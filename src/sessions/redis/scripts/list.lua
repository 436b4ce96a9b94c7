-- list: returns the sessions that hold a place now, unsorted, and the limit at which the latest phase was admitted.
-- Flags   no-writes
-- KEYS    of the user
-- ARGV    now           ms, or '' for the time of this server
--         user
-- Returns {now, limit, {sessions ...}, subject}; the limit is 0 if it is unknown, each session is seven values, and the
-- subject is '' if the user has none
local records_key = KEYS[1]
local now, user = unpack(ARGV)
-- @include shared/records
-- @include shared/replies

now = read_clock(now)
local value = redis.call('HGET', records_key, user)
local readable, records, subject = pcall(decode, value or '\2')
local sessions, latest, limit = {}, 0, 0
for _, record in ipairs(readable and records or {}) do
  if record.status ~= ENDED and now < record.due then
    append(sessions, record)
    local phase_at = record.active - record.paused
    if record.max_sessions > 0 and phase_at >= latest then
      limit = phase_at > latest and record.max_sessions or math.max(limit, record.max_sessions)
      latest = phase_at
    end
  end
end
return { now, limit, sessions, readable and subject or '' }
