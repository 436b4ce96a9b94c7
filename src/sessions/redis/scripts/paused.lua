-- paused: returns the pause of one partition, if its sweeps are paused.
-- Flags   no-writes
-- KEYS    of the partition
-- ARGV    now           ms, or '' for the time of this server
-- Returns {since ms, by | '', until ms | ''}, or {} if its sweeps are not paused
local state_key = KEYS[1]
local now = unpack(ARGV)
-- @include shared/clock

local pause = redis.call('HMGET', state_key, 'pause', 'pause_since', 'pause_by', 'pause_until')
if not pause[1] or (pause[4] ~= '' and read_clock(now) >= tonumber(pause[4])) then return {} end
return { tonumber(pause[2]), pause[3], pause[4] }
