-- count: adds to the number of requests of a client within one second. The count expires soon after that second.
-- Counting and setting the expiry are one step, and the expiry comes first. Otherwise a count could stay for ever.
-- KEYS    the count
-- ARGV    more          the number of requests to add
--         keep_ms       ms from the first request until the count expires
-- Returns the new count
local count_key = KEYS[1]
local more, keep_ms = unpack(ARGV)
redis.call('SET', count_key, 0, 'PX', keep_ms, 'NX')
return redis.call('INCRBY', count_key, more)
