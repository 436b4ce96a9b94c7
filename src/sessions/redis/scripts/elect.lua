-- elect: makes an instance the reporter of the system's metrics, unless another holds that role. The role is a lease.
-- Flags   allow-oom: it is one small key, and operators need the metrics of a full Redis
-- KEYS    the holder of the lease
-- ARGV    instance      the name of the instance that asks
--         lease_ms      ms until the lease ends, unless the instance asks again
-- Returns 1 if the instance holds the lease | 0 if another does
local holder_key = KEYS[1]
local instance, lease_ms = unpack(ARGV)
local holder = redis.call('GET', holder_key)
if holder and holder ~= instance then return 0 end
redis.call('SET', holder_key, instance, 'PX', lease_ms)
return 1
