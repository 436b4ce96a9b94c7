-- count: adds to how often somebody asked within a second; it is forgotten soon after.
-- One step, and the expiry first, because a count whose expiry got lost on its way would stay for good.
-- KEYS    the count
-- ARGV    more          how many more
--         keep_ms       ms from the first of them until the count is forgotten
-- Returns how many there are now
local count_key = KEYS[1]
local more, keep_ms = unpack(ARGV)
redis.call('SET', count_key, 0, 'PX', keep_ms, 'NX')
return redis.call('INCRBY', count_key, more)
