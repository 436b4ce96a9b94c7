-- pause: pauses the sweeps of one partition. If they are paused already, the start of the pause stays the same.
-- Flags   allow-oom: it is small, and a full Redis may be why somebody pauses
-- KEYS    of the partition
-- ARGV    now           ms, or '' for the time of this server
--         by            the person or system that pauses them, or ''
--         until_ms      when the sweeps resume by themselves, in ms, or ''
-- Returns the start of the pause, in ms
local state_key = KEYS[1]
local now, by, until_ms = unpack(ARGV)
-- @include shared/clock

now = read_clock(now)
local held = redis.call('HMGET', state_key, 'pause', 'pause_since', 'pause_until')
local since = now
if held[1] and (held[3] == '' or now < tonumber(held[3])) then since = tonumber(held[2]) end
redis.call('HSET', state_key, 'pause', 1, 'pause_since', since, 'pause_by', by, 'pause_until', until_ms)
return since
