-- bury: gives an event up. It leaves the outbox and becomes a dead letter in one step, so that it is never in neither.
-- Flags   allow-oom: it is small, and without it the outbox would not move
-- KEYS[1] the partition's log
-- KEYS[2] the partition's dead letters
-- KEYS[3] the partition's state
-- ARGV    entry, its text, tries, why the last one failed, dead letters at most
-- Returns 1 where it is buried by this call, 0 where it was settled before
if redis.call('XACK', KEYS[1], GROUP, ARGV[1]) == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', 'e', ARGV[2], 'id', ARGV[1], 'tries', ARGV[3], 'failure', ARGV[4])
count(KEYS[3], 'lost', redis.call('XTRIM', KEYS[2], 'MAXLEN', ARGV[5]))
return 1
