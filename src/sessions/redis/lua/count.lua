-- count: adds to how often somebody asked within a second; it is forgotten soon after.
-- One step, because a count whose expiry got lost on its way would stay for good.
-- KEYS[1] the count
-- ARGV    how many more, ms to keep it for
-- Returns how many there are now
local sum = redis.call('INCRBY', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return sum
