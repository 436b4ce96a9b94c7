-- pause: stops the sweeps of one partition.
-- Flags   allow-oom: it is small, and a full Redis may be why somebody pauses
-- KEYS[1] the partition's state
-- ARGV    since ms, by | '', until ms | ''
-- Returns 1
redis.call('HSET', KEYS[1], 'pause', 1, 'pause_since', ARGV[1], 'pause_by', ARGV[2], 'pause_until', ARGV[3])
return 1
